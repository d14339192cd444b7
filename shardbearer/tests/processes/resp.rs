//! A Redis client of a few lines. It says what a stock client hides: whether a failed command may have happened.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A reply in RESP2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Option<String>),
    Array(Vec<Reply>),
}

/// A connection. After an error it is of no more use.
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    pub async fn open(address: &str) -> std::io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection(BufReader::new(stream)))
    }

    /// One command, one reply.
    pub async fn call(&mut self, words: &[&str]) -> std::io::Result<Reply> {
        self.pipeline(&[words.to_vec()]).await.map(|mut replies| replies.remove(0))
    }

    /// The same within a time.
    pub async fn call_within(&mut self, words: &[&str], time: Duration) -> std::io::Result<Reply> {
        tokio::time::timeout(time, self.call(words)).await.map_err(std::io::Error::from)?
    }

    /// Many commands at once.
    pub async fn pipeline(&mut self, commands: &[Vec<&str>]) -> std::io::Result<Vec<Reply>> {
        let mut request = String::new();
        for words in commands {
            request += &format!("*{}\r\n", words.len());
            for word in words {
                request += &format!("${}\r\n{word}\r\n", word.len());
            }
        }
        self.0.get_mut().write_all(request.as_bytes()).await?;
        let mut replies = Vec::with_capacity(commands.len());
        for _ in commands {
            replies.push(self.reply().await?);
        }
        Ok(replies)
    }

    async fn reply(&mut self) -> std::io::Result<Reply> {
        let line = self.line().await?;
        let (kind, rest) = line.split_at_checked(1).unwrap_or_default();
        let number = || rest.parse::<i64>().map_err(std::io::Error::other);
        Ok(match kind {
            "+" => Reply::Simple(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Integer(number()?),
            "$" => Reply::Bulk(match usize::try_from(number()?) {
                Ok(length) => Some(self.bulk(length).await?),
                Err(_) => None,
            }),
            "*" => {
                let mut replies = Vec::new();
                for _ in 0..number()? {
                    replies.push(Box::pin(self.reply()).await?);
                }
                Reply::Array(replies)
            }
            _ => return Err(std::io::Error::other(format!("no reply: {line:?}"))),
        })
    }

    async fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).await?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }

    async fn bulk(&mut self, length: usize) -> std::io::Result<String> {
        let mut raw = vec![0; length + 2];
        self.0.read_exact(&mut raw).await?;
        raw.truncate(length);
        String::from_utf8(raw).map_err(std::io::Error::other)
    }
}
