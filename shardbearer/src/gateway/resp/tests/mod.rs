//! The gateway as its clients see it: real sockets, bytes written by hand, the real shard machine behind the door.

mod cluster;
mod commands;
mod connections;
mod door;
mod transactions;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use self::door::{Nothing, TestDoor};
use super::{Options, serve};
use crate::gateway::{Entrance, Inside};
use crate::world::Real;

/// Longer than any answer takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway over a cluster of one process.
struct Server {
    port: u16,
    entrance: Entrance,
    door: Arc<TestDoor>,
    shutdown: CancellationToken,
    _real: Arc<Real>,
}

impl Server {
    /// One whose radiant is in its cluster.
    async fn start() -> Server {
        let server = Server::start_outside(Options::default()).await;
        server.enter();
        server
    }

    /// One whose radiant has not found its cluster yet.
    async fn start_outside(options: Options) -> Server {
        let (world, real) = Real::create();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (entrance, shutdown) = (Entrance::default(), CancellationToken::new());
        let door = Arc::new(TestDoor::new(world.clone()));
        let serving = serve(listener, entrance.clone(), world.clone(), options, shutdown.clone());
        world.spawn("resp", serving);
        Server { port, entrance, door, shutdown, _real: real }
    }

    /// Lets the radiant into its cluster.
    fn enter(&self) {
        let entrance: &OnceLock<Inside> = &self.entrance;
        let inside = Inside { door: self.door.clone(), overview: Arc::new(Nothing) };
        assert!(entrance.set(inside).is_ok(), "once");
    }

    async fn client(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("it listens");
        Client { stream }
    }
}

/// A client that writes and reads bytes.
struct Client {
    stream: TcpStream,
}

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = tokio::time::timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await;
        sent.expect("in time").expect("the server reads");
    }

    /// Reads exactly what is expected.
    #[track_caller]
    fn expect<'a>(&'a mut self, expect: &'a str) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let mut got = Vec::new();
            while got.len() < expect.len() {
                let mut piece = vec![0; expect.len() - got.len()];
                let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut piece)).await;
                let text = String::from_utf8_lossy(&got).into_owned();
                match read {
                    Err(_) => panic!("{caller}: expected {expect:?}, got only {text:?}"),
                    Ok(Ok(0)) | Ok(Err(_)) => {
                        panic!("{caller}: expected {expect:?}, closed after {text:?}")
                    }
                    Ok(Ok(count)) => got.extend_from_slice(&piece[..count]),
                }
                let text = String::from_utf8_lossy(&got);
                assert!(expect.as_bytes().starts_with(&got), "{caller}: expected {expect:?}, got {text:?}");
            }
        }
    }

    /// Sends a line and reads the reply.
    #[track_caller]
    fn ask<'a>(&'a mut self, line: &'a str, expect: &'a str) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            self.send(format!("{line}\r\n")).await;
            let reply = self.reply().await;
            let reply = String::from_utf8_lossy(&reply);
            assert_eq!(reply, expect, "{caller}: {line}");
        }
    }

    /// Reads one whole reply.
    async fn reply(&mut self) -> Vec<u8> {
        let mut reply = Vec::new();
        let mut missing = 1;
        while missing > 0 {
            missing -= 1;
            let line = self.line().await;
            let number = || std::str::from_utf8(&line[1..line.len() - 2]).expect("text").parse::<i64>();
            match line[0] {
                b'$' | b'=' => {
                    let length = number().expect("a length");
                    reply.extend_from_slice(&line);
                    if length >= 0 {
                        let mut bytes = vec![0; usize::try_from(length).expect("small") + 2];
                        let read = tokio::time::timeout(PATIENCE, self.stream.read_exact(&mut bytes));
                        read.await.expect("in time").expect("the whole string");
                        reply.extend_from_slice(&bytes);
                    }
                    continue;
                }
                b'*' | b'~' => missing += number().expect("a count").max(0),
                b'%' => missing += number().expect("a count").max(0) * 2,
                _ => {}
            }
            reply.extend_from_slice(&line);
        }
        reply
    }

    async fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let byte = tokio::time::timeout(PATIENCE, self.stream.read_u8()).await;
            line.push(byte.expect("in time").expect("the connection is open"));
        }
        line
    }

    /// Waits until the server has closed the connection.
    async fn closed(&mut self) {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await;
        // A reset is a close, too.
        let _ = read.expect("in time");
        assert!(rest.is_empty(), "closed without another word, but got {:?}", Bytes::from(rest));
    }
}

/// A command as an array of strings.
fn array(words: &[&str]) -> String {
    let words = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    let words: Vec<String> = words.collect();
    format!("*{}\r\n{}", words.len(), words.concat())
}

/// What `HELLO 3` answers.
fn hello(id: u64) -> String {
    format!(
        "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.4.0\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:{id}\r\n\
         $4\r\nmode\r\n$7\r\ncluster\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n"
    )
}
