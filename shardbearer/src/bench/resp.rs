//! A client for Redis' protocol, as small as a load generator needs it: commands out, replies in, pipelined.

use anyhow::{Context, bail, ensure};
use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::driver::{Driver, Kind, Op};

/// Longest reply that is taken in, in bytes.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// How deep arrays may nest; `CLUSTER SLOTS` needs three.
const DEPTH_MAX: u32 = 8;

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Option<Vec<u8>>),
    Array(Option<Vec<Reply>>),
}

/// Appends a command.
pub(super) fn encode(out: &mut BytesMut, parts: &[&[u8]]) {
    out.put_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        out.put_slice(format!("${}\r\n", part.len()).as_bytes());
        out.put_slice(part);
        out.put_slice(b"\r\n");
    }
}

/// The first reply in the buffer and how many bytes it takes; `None` if it is not whole yet.
pub(super) fn parse(buffer: &[u8]) -> anyhow::Result<Option<(Reply, usize)>> {
    parse_at(buffer, 0, DEPTH_MAX)
}

fn parse_at(buffer: &[u8], at: usize, depth: u32) -> anyhow::Result<Option<(Reply, usize)>> {
    let Some(rest) = buffer.get(at..) else { return Ok(None) };
    let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let (line, next) = (&rest[..end], at + end + 2);
    let Some((kind, text)) = line.split_first() else { bail!("an empty line is no reply") };
    let text = std::str::from_utf8(text).context("a reply's head is no text")?;
    let length = || -> anyhow::Result<Option<usize>> {
        let length: i64 = text.parse().context("a reply's length is no number")?;
        let length = if length == -1 { None } else { Some(usize::try_from(length)?) };
        ensure!(length.unwrap_or(0) <= REPLY_BYTES_MAX, "a reply is too long");
        Ok(length)
    };
    Ok(Some(match kind {
        b'+' => (Reply::Simple(text.to_owned()), next),
        b'-' => (Reply::Error(text.to_owned()), next),
        b':' => (Reply::Integer(text.parse().context("a reply is no number")?), next),
        b'$' => match length()? {
            None => (Reply::Bulk(None), next),
            Some(length) => {
                let Some(body) = buffer.get(next..next + length + 2) else { return Ok(None) };
                ensure!(body.ends_with(b"\r\n"), "a reply has another length than it says");
                (Reply::Bulk(Some(body[..length].to_vec())), next + length + 2)
            }
        },
        b'*' => match length()? {
            None => (Reply::Array(None), next),
            Some(length) => {
                ensure!(depth > 0, "a reply nests too deeply");
                let (mut items, mut at) = (Vec::new(), next);
                for _ in 0..length {
                    let Some((item, next)) = parse_at(buffer, at, depth - 1)? else { return Ok(None) };
                    items.push(item);
                    at = next;
                }
                (Reply::Array(Some(items)), at)
            }
        },
        other => bail!("a reply cannot begin with {:?}", char::from(*other)),
    }))
}

/// A connection to one server. After an error it is opened again when it is next used.
pub(super) struct Connection {
    address: String,
    stream: Option<TcpStream>,
    out: BytesMut,
    input: BytesMut,
}

impl Connection {
    /// Connects.
    pub(super) async fn open(address: &str) -> anyhow::Result<Connection> {
        let mut connection = Connection {
            address: address.to_owned(),
            stream: None,
            out: BytesMut::new(),
            input: BytesMut::new(),
        };
        connection.stream().await?;
        Ok(connection)
    }

    async fn stream(&mut self) -> anyhow::Result<&mut TcpStream> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let connected = TcpStream::connect(&self.address).await;
                let stream = connected.with_context(|| format!("cannot connect to {}", self.address))?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        Ok(self.stream.insert(stream))
    }

    /// Lines a command up.
    pub(super) fn push(&mut self, parts: &[&[u8]]) {
        encode(&mut self.out, parts);
    }

    /// Lines an operation up.
    pub(super) fn push_op(&mut self, op: &Op, value: &Bytes) {
        match op.kind {
            Kind::Read => self.push(&[b"GET", &op.key]),
            Kind::Write => self.push(&[b"SET", &op.key, value]),
        }
    }

    /// Sends what was lined up. What was left of an exchange that was broken off is gone with its connection.
    pub(super) async fn send(&mut self) -> anyhow::Result<()> {
        let out = self.out.split().freeze();
        self.input.clear();
        let sent = self.stream().await?.write_all(&out).await;
        if sent.is_err() {
            self.stream = None;
        }
        Ok(sent?)
    }

    /// Waits for so many replies. An error closes the connection, for what comes after it cannot be told apart.
    pub(super) async fn receive(&mut self, count: usize) -> anyhow::Result<Vec<Reply>> {
        let mut stream = self.stream.take().context("the connection is closed")?;
        let mut replies = Vec::with_capacity(count);
        loop {
            while replies.len() < count
                && let Some((reply, used)) = parse(&self.input)?
            {
                self.input.advance(used);
                replies.push(reply);
            }
            if replies.len() == count {
                self.stream = Some(stream);
                return Ok(replies);
            }
            ensure!(stream.read_buf(&mut self.input).await? > 0, "{} closed the connection", self.address);
        }
    }
}

/// An error among the replies.
pub(super) fn check(replies: &[Reply]) -> anyhow::Result<()> {
    for reply in replies {
        if let Reply::Error(why) = reply {
            bail!("{why}");
        }
    }
    Ok(())
}

#[async_trait]
impl Driver for Connection {
    async fn run(&mut self, ops: &[Op], value: &Bytes) -> anyhow::Result<()> {
        self.out.clear();
        for op in ops {
            self.push_op(op, value);
        }
        self.send().await?;
        check(&self.receive(ops.len()).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_parsed_whole_or_not_at_all() {
        let bytes = b"*3\r\n:-5\r\n$3\r\na\r\n\r\n*1\r\n$-1\r\n+OK\r\n";
        let whole = Reply::Array(Some(vec![
            Reply::Integer(-5),
            Reply::Bulk(Some(b"a\r\n".to_vec())),
            Reply::Array(Some(vec![Reply::Bulk(None)])),
        ]));
        let length = bytes.len() - 5;
        assert_eq!(parse(bytes).expect("valid"), Some((whole, length)));
        for cut in 0..length {
            assert_eq!(parse(&bytes[..cut]).expect("only short"), None, "cut at {cut}");
        }
        assert_eq!(parse(&bytes[length..]).expect("valid"), Some((Reply::Simple("OK".into()), 5)));
    }

    #[test]
    fn nonsense_is_an_error() {
        for wrong in
            [&b"hello\r\n"[..], b"\r\n", b"$x\r\n", b"$-2\r\n", b"$1\r\nabc\r\n", b"$999999999999\r\n"]
        {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(parse(&b"*1\r\n".repeat(20)).is_err(), "too deep");
    }

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let mut out = BytesMut::new();
        encode(&mut out, &[b"SET", b"k", b""]);
        assert_eq!(&out[..], b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n");
    }
}
