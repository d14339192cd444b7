//! Rows in key order, a page at a time. Each page is a read of its own: rows written while a scan runs may or may
//! not be seen, rows that stay as they are always are, and exactly once.

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream, TryStreamExt};
use shardbearer_core::kv::{Command, Reply, Row, Scan};

use crate::client::Client;
use crate::error::Error;

/// A scan over a table. Fetches nothing before it is asked for a page.
pub struct ScanStream {
    client: Client,
    start: Bytes,
    end: Bytes,
    keys_only: bool,
    page_rows: u32,
    left: Option<u64>,
    over: bool,
}

impl Client {
    /// All rows in key order; the methods of [`ScanStream`] narrow it.
    pub fn scan(&self) -> ScanStream {
        ScanStream {
            client: self.clone(),
            start: Bytes::new(),
            end: Bytes::new(),
            keys_only: false,
            page_rows: 1_000,
            left: None,
            over: false,
        }
    }
}

impl ScanStream {
    /// From this key on, inclusive.
    #[must_use]
    pub fn start(mut self, start: impl Into<Bytes>) -> ScanStream {
        self.start = start.into();
        self
    }

    /// Up to this key, exclusive; empty means to the end.
    #[must_use]
    pub fn end(mut self, end: impl Into<Bytes>) -> ScanStream {
        self.end = end.into();
        self
    }

    /// Only keys that begin with this.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<Bytes>) -> ScanStream {
        let prefix = prefix.into();
        let end = after_prefix(&prefix);
        self.start(prefix).end(end)
    }

    /// At most so many rows altogether.
    #[must_use]
    pub fn limit(mut self, rows: u64) -> ScanStream {
        self.left = Some(rows);
        self
    }

    /// At most so many rows per page; 0 means as many as the server allows.
    #[must_use]
    pub fn page_rows(mut self, rows: u32) -> ScanStream {
        self.page_rows = rows;
        self
    }

    /// Rows without their values.
    #[must_use]
    pub fn keys_only(mut self) -> ScanStream {
        self.keys_only = true;
        self
    }

    /// The next rows, never an empty page; `None` after the last. After an error the same page can be asked for
    /// again; a future that is dropped loses nothing.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Row>>, Error> {
        if self.over || self.left == Some(0) {
            return Ok(None);
        }
        let left = self.left.map_or(u32::MAX, |left| u32::try_from(left).unwrap_or(u32::MAX));
        let limit = if self.page_rows == 0 { left } else { self.page_rows.min(left) };
        let scan = Scan {
            start: self.start.clone(),
            end: self.end.clone(),
            limit,
            bytes: 0,
            keys_only: self.keys_only,
        };
        let (rows, more) = match self.client.execute(Command::Scan(scan)).await? {
            Reply::Page { rows, more } => (rows, more),
            other => return Err(Error::unexpected(&other)),
        };
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(rows.len() as u64);
        }
        self.over = !more || rows.is_empty();
        match rows.last() {
            Some(last) => self.start = successor(&last.key),
            None => return Ok(None),
        }
        Ok(Some(rows))
    }

    /// Row by row.
    pub fn rows(self) -> impl Stream<Item = Result<Row, Error>> + Send {
        let pages = stream::try_unfold(self, |mut scan| async move {
            let page = scan.next_page().await?;
            Ok::<_, Error>(page.map(|rows| (stream::iter(rows.into_iter().map(Ok)), scan)))
        });
        pages.try_flatten()
    }
}

/// The least key above this one.
fn successor(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.extend_from_slice(&[0]);
    next.freeze()
}

/// The least key above all that begin with this; empty if there is none.
fn after_prefix(prefix: &[u8]) -> Bytes {
    match prefix.iter().rposition(|byte| *byte < u8::MAX) {
        Some(at) => {
            let mut end = prefix[..=at].to_vec();
            end[at] += 1;
            end.into()
        }
        None => Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_prefixes_and_pages() {
        assert_eq!(after_prefix(b"user:"), Bytes::from_static(b"user;"));
        assert_eq!(after_prefix(b"a\xff\xff"), Bytes::from_static(b"b"));
        assert_eq!(after_prefix(b"\xff"), Bytes::new(), "to the end");
        assert_eq!(after_prefix(b""), Bytes::new());
        assert_eq!(successor(b"k"), Bytes::from_static(b"k\0"));
    }
}
