//! Accepting connections: bounded in number, patient with a machine that is out of descriptors, and cut off
//! when their time is over.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::telemetry::meter::{self, Meter};

/// Pause after a failed accept: "too many open files" does not go away by asking at once.
const PAUSE: Duration = Duration::from_millis(100);

/// Silence after which the system asks the other end whether it is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

/// How often it asks, and how many questions may stay unanswered before the connection is given up.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 6;

/// How long what was sent may stay without an acknowledgement. Of itself the system tries for a quarter of an hour.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(120);

/// What every connection of a client gets: answers leave at once, and an end that vanished without a word does not hold
/// its place for ever.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MAX.as_millis() as u32)?; // two minutes fit
    Ok(())
}

/// What has to arrive at first, and by when: a connection that does not even begin to speak its protocol is no client.
#[derive(Clone, Copy)]
pub(super) struct Greeting {
    pub(super) bytes: usize,
    pub(super) within: Duration,
}

/// Where connections come from.
pub(super) struct Door {
    listener: TcpListener,
    room: Arc<Semaphore>,
    greeting: Option<Greeting>,
    meter: Arc<Meter>,
    cut: CancellationToken,
}

impl Door {
    /// At most `connections_max` at once: more wait in the backlog. All of them end with `cut`. A `greeting` is for
    /// protocols whose server does not see to it itself.
    pub(super) fn new(
        listener: TcpListener,
        connections_max: usize,
        greeting: Option<Greeting>,
        meter: Arc<Meter>,
        cut: CancellationToken,
    ) -> Door {
        Door { listener, room: Arc::new(Semaphore::new(connections_max)), greeting, meter, cut }
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> Guarded {
        loop {
            let permit = self.room.clone().acquire_owned().await.expect("the semaphore is never closed");
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    // A socket that is broken already says so when it is read.
                    let _ = tune(&stream);
                    let greeting = self
                        .greeting
                        .map(|greeting| (greeting.bytes, Box::pin(tokio::time::sleep(greeting.within))));
                    return Guarded {
                        stream,
                        greeting,
                        cut: Box::pin(self.cut.clone().cancelled_owned()),
                        _permit: permit,
                        _counted: self.meter.connection(),
                    };
                }
                Err(error) => {
                    tracing::warn!("a connection could not be accepted: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// A connection that gives back its place when it ends.
pub(super) struct Guarded {
    stream: TcpStream,
    /// Bytes of the greeting that are missing, and until when they may be.
    greeting: Option<(usize, Pin<Box<Sleep>>)>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: OwnedSemaphorePermit,
    _counted: meter::Connection,
}

impl Connected for Guarded {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some((missing, late)) = &mut self.greeting {
            *missing = missing.saturating_sub(buf.filled().len() - before);
            if *missing == 0 {
                self.greeting = None;
            } else if late.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        // Asked only while idle: a connection that is cut is silent, or will be shortly.
        if read.is_pending() && self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        read
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt;

    use super::*;

    #[tokio::test]
    async fn the_system_asks_after_silent_clients() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let _client = TcpStream::connect(address).await.expect("it listens");
        let (world, _real) = crate::world::Real::create();
        let meter = Arc::new(Meter::new("radiant", "http", world));
        let accepted = Door::new(listener, 1, None, meter, CancellationToken::new()).accept().await;
        assert_eq!(sockopt::socket_keepalive(&accepted.stream), Ok(true));
        assert_eq!(sockopt::tcp_keepidle(&accepted.stream), Ok(KEEPALIVE_AFTER));
    }
}
