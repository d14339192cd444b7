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
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::telemetry::meter::{self, Meter};

/// Pause after a failed accept: "too many open files" does not go away by asking at once.
const PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from.
pub(super) struct Door {
    listener: TcpListener,
    room: Arc<Semaphore>,
    meter: Arc<Meter>,
    cut: CancellationToken,
}

impl Door {
    /// At most `connections_max` at once: more wait in the backlog. All of them end with `cut`.
    pub(super) fn new(
        listener: TcpListener,
        connections_max: usize,
        meter: Arc<Meter>,
        cut: CancellationToken,
    ) -> Door {
        Door { listener, room: Arc::new(Semaphore::new(connections_max)), meter, cut }
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> Guarded {
        loop {
            let permit = self.room.clone().acquire_owned().await.expect("the semaphore is never closed");
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    // A socket that is broken already says so when it is read.
                    let _ = stream.set_nodelay(true);
                    return Guarded {
                        stream,
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
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
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
