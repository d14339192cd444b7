//! openraft's log over the radiant's shared one.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{LogDone, LogError, LogRecord, LogStore, LogWrite};
use tokio::sync::oneshot;

use super::types::{Entry, LogId, Types, Vote, log_id, position};
use super::wire;
use crate::engine::room;

/// One order's part of the log. Clones are the same log.
#[derive(Clone)]
pub struct OrderLog {
    pub order: OrderId,
    pub store: Arc<dyn LogStore>,
    pub message_bytes_max: usize,
}

fn failed(error: LogError) -> io::Error {
    match &error {
        LogError::Corrupt { .. } => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
        _ => io::Error::other(error.to_string()),
    }
}

fn unreadable(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("log: {what} is of an unknown version"))
}

impl OrderLog {
    /// Writes and waits until it is durable.
    async fn write_through(&self, write: LogWrite) -> Result<(), io::Error> {
        let (done, result) = oneshot::channel();
        let report = Box::new(move |outcome| drop(done.send(outcome)));
        self.store.write(self.order, vec![write], report).map_err(failed)?;
        result.await.map_err(|_| io::Error::other("the log closed"))?.map_err(failed)
    }

    fn read(&self, first: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry>, io::Error> {
        let records = self.store.entries(self.order, first + 1..end + 1, bytes_max).map_err(failed)?;
        records.into_iter().map(entry).collect()
    }
}

fn entry(record: LogRecord) -> Result<Entry, io::Error> {
    let log_id = log_id(record.position).ok_or_else(|| unreadable("an entry"))?;
    let payload = wire::decode_payload(record.payload).ok_or_else(|| unreadable("an entry"))?;
    Ok(Entry { log_id, payload })
}

impl RaftLogReader<Types> for OrderLog {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, io::Error> {
        let first = match range.start_bound() {
            Bound::Included(first) => *first,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => self.store.bounds(self.order).last.index,
        };
        self.read(first, end, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, self.message_bytes_max)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        let hard = self.store.bounds(self.order).hard;
        hard.map(|hard| wire::decode_vote(hard).ok_or_else(|| unreadable("the vote"))).transpose()
    }
}

impl RaftLogStorage<Types> for OrderLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let bounds = self.store.bounds(self.order);
        Ok(LogState { last_purged_log_id: log_id(bounds.purged), last_log_id: log_id(bounds.last) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.write_through(LogWrite::Hard(wire::encode_vote(vote))).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let writes: Vec<LogWrite> = entries
            .into_iter()
            .map(|entry| {
                let payload = wire::encode_payload(&entry.payload);
                LogWrite::Append(LogRecord { position: position(&entry.log_id), payload })
            })
            .collect();
        // Returns when readable; the callback comes from the log's thread after the fsync, which it
        // shares with every other order of the radiant.
        let callback = Arc::new(Mutex::new(Some(callback)));
        let done = || -> LogDone {
            let callback = callback.clone();
            Box::new(move |outcome| {
                if let Some(callback) = callback.lock().take() {
                    callback.io_completed(outcome.map_err(failed));
                }
            })
        };
        // openraft waits for this call before it appends anything else of this order.
        room::write(self.store.as_ref(), self.order, writes, done).await.map_err(failed)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |last| last.index + 1) + 1;
        if from > self.store.bounds(self.order).last.index {
            return Ok(());
        }
        self.write_through(LogWrite::Truncate { from }).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let upto = position(&upto);
        if upto.index <= self.store.bounds(self.order).purged.index {
            return Ok(());
        }
        self.write_through(LogWrite::Purge { upto }).await
    }
}
