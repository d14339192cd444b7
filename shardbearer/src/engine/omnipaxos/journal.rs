//! The library's storage over the radiant's shared log.
//!
//! The library writes and goes on; the log is durable later. So nothing here waits: each write gets a number, and
//! [`super::replica`] holds back whatever depends on it until [`Progress::durable`] has reached that number. The library
//! panics on a failed write, so a failure is remembered instead and stops the member after the step.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::storage::{NoSnapshot, StopSign, Storage, StorageOp, StorageResult};
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{LogError, LogPos, LogRecord, LogStore, LogWrite};

use super::wire::{self, Entry, Hard};
use crate::watch;

/// How far the log is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Writes up to this number survive a loss of power.
    pub durable: u64,
    /// Why there will be no more.
    pub failure: Option<String>,
}

/// One order's part of the log, as a numbered sequence of writes.
pub struct Journal {
    order: OrderId,
    log: Arc<dyn LogStore>,
    issued: AtomicU64,
    progress: watch::Sender<Progress>,
}

impl Journal {
    pub fn new(order: OrderId, log: Arc<dyn LogStore>) -> Arc<Self> {
        Arc::new(Journal { order, log, issued: AtomicU64::new(0), progress: watch::Sender::default() })
    }

    /// The number of the last write.
    pub fn issued(&self) -> u64 {
        self.issued.load(Ordering::Acquire)
    }

    /// Follows what becomes durable.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Stops the member.
    pub fn fail(&self, why: String) {
        self.progress.send_modify(|progress| {
            progress.failure.get_or_insert(why);
        });
    }

    /// Writes one atomic batch; only the replica's task does.
    pub fn write(self: &Arc<Self>, writes: Vec<LogWrite>) {
        let number = self.issued.fetch_add(1, Ordering::AcqRel) + 1;
        let journal = self.clone();
        let done = Box::new(move |outcome: Result<(), LogError>| match outcome {
            Ok(()) => {
                journal.progress.send_modify(|progress| progress.durable = progress.durable.max(number))
            }
            Err(error) => journal.fail(error.to_string()),
        });
        if let Err(error) = self.log.write(self.order, writes, done) {
            self.fail(error.to_string());
        }
    }

    /// Where the log begins and ends.
    pub fn bounds(&self) -> (LogPos, LogPos) {
        let bounds = self.log.bounds(self.order);
        (bounds.purged, bounds.last)
    }

    /// Entries from `first` to before `end`, by the log's counting, within `bytes_max`.
    pub fn entries(&self, first: u64, end: u64, bytes_max: usize) -> Result<Vec<(LogPos, Entry)>, String> {
        let records =
            self.log.entries(self.order, first..end, bytes_max).map_err(|error| error.to_string())?;
        let decode = |record: LogRecord| {
            let entry = wire::decode_entry(record.position.term, record.payload);
            entry.map(|entry| (record.position, entry)).ok_or_else(|| "an entry of an unknown version".into())
        };
        records.into_iter().map(decode).collect()
    }
}

/// What the library sees. Its index 0 is the log's 1.
pub struct Store {
    journal: Arc<Journal>,
    hard: Hard,
    last: u64,
}

impl Store {
    /// On what is stored, with `hard` as what is kept beside it.
    pub fn new(journal: Arc<Journal>, hard: Hard) -> Self {
        let last = journal.bounds().1.index;
        Store { journal, hard, last }
    }

    fn append(&mut self, entries: Vec<Entry>, writes: &mut Vec<LogWrite>) {
        for entry in entries {
            self.last += 1;
            let position = LogPos { term: entry.term, index: self.last };
            writes.push(LogWrite::Append(LogRecord { position, payload: wire::encode_entry(&entry) }));
        }
    }

    fn append_after(&mut self, from: usize, entries: Vec<Entry>, writes: &mut Vec<LogWrite>) {
        if (from as u64) < self.last {
            self.last = from as u64;
            writes.push(LogWrite::Truncate { from: self.last + 1 });
        }
        self.append(entries, writes);
    }

    fn write(&self, writes: Vec<LogWrite>) {
        if !writes.is_empty() {
            self.journal.write(writes);
        }
    }

    fn write_hard(&self) {
        self.write(vec![LogWrite::Hard(wire::encode_hard(&self.hard))]);
    }

    /// All entries from one index to another, or a failure that stops the member: the library would take
    /// "none" for "nothing to send" and make the other forget what it has.
    fn read(&self, from: usize, to: u64) -> Vec<Entry> {
        let (first, end) = (from as u64 + 1, to + 1);
        match self.journal.entries(first, end, usize::MAX) {
            Ok(entries) if entries.len() as u64 == end.saturating_sub(first) => {
                entries.into_iter().map(|(_, entry)| entry).collect()
            }
            Ok(_) => {
                self.journal.fail(format!("entries {first} to {to} are needed and not all there"));
                Vec::new()
            }
            Err(why) => {
                self.journal.fail(why);
                Vec::new()
            }
        }
    }
}

impl Storage<Entry> for Store {
    fn write_atomically(&mut self, ops: Vec<StorageOp<Entry>>) -> StorageResult<()> {
        let before = self.hard.clone();
        let mut writes = Vec::new();
        for op in ops {
            match op {
                StorageOp::AppendEntry(entry) => self.append(vec![entry], &mut writes),
                StorageOp::AppendEntries(entries) => self.append(entries, &mut writes),
                StorageOp::AppendOnPrefix(from, entries) => self.append_after(from, entries, &mut writes),
                StorageOp::SetPromise(ballot) => self.hard.promise = ballot,
                StorageOp::SetDecidedIndex(index) => self.hard.decided = index as u64,
                StorageOp::SetAcceptedRound(ballot) => self.hard.accepted = ballot,
                // Members do not change, and the library neither trims nor makes images.
                StorageOp::SetCompactedIdx(_)
                | StorageOp::Trim(_)
                | StorageOp::SetStopsign(_)
                | StorageOp::SetSnapshot(_) => {}
            }
        }
        if self.hard != before {
            writes.push(LogWrite::Hard(wire::encode_hard(&self.hard)));
        }
        self.write(writes);
        Ok(())
    }

    fn append_entry(&mut self, entry: Entry) -> StorageResult<()> {
        self.append_entries(vec![entry])
    }

    fn append_entries(&mut self, entries: Vec<Entry>) -> StorageResult<()> {
        let mut writes = Vec::with_capacity(entries.len());
        self.append(entries, &mut writes);
        self.write(writes);
        Ok(())
    }

    fn append_on_prefix(&mut self, from: usize, entries: Vec<Entry>) -> StorageResult<()> {
        let mut writes = Vec::new();
        self.append_after(from, entries, &mut writes);
        self.write(writes);
        Ok(())
    }

    fn set_promise(&mut self, ballot: Ballot) -> StorageResult<()> {
        if self.hard.promise != ballot {
            self.hard.promise = ballot;
            self.write_hard();
        }
        Ok(())
    }

    /// Not written by itself: what is decided is found out again, and what is applied is known to be.
    fn set_decided_idx(&mut self, index: usize) -> StorageResult<()> {
        self.hard.decided = index as u64;
        Ok(())
    }

    fn get_decided_idx(&self) -> StorageResult<usize> {
        Ok(usize::try_from(self.hard.decided)?)
    }

    fn set_accepted_round(&mut self, ballot: Ballot) -> StorageResult<()> {
        self.hard.accepted = ballot;
        self.write_hard();
        Ok(())
    }

    fn get_accepted_round(&self) -> StorageResult<Option<Ballot>> {
        Ok((self.hard.accepted != Ballot::default()).then_some(self.hard.accepted))
    }

    fn get_entries(&self, from: usize, to: usize) -> StorageResult<Vec<Entry>> {
        Ok(self.read(from, to as u64))
    }

    fn get_log_len(&self) -> StorageResult<usize> {
        Ok(usize::try_from(self.last - self.journal.bounds().0.index)?)
    }

    fn get_suffix(&self, from: usize) -> StorageResult<Vec<Entry>> {
        Ok(self.read(from, self.last))
    }

    fn get_promise(&self) -> StorageResult<Option<Ballot>> {
        Ok((self.hard.promise != Ballot::default()).then_some(self.hard.promise))
    }

    fn set_stopsign(&mut self, _: Option<StopSign>) -> StorageResult<()> {
        Ok(())
    }

    fn get_stopsign(&self) -> StorageResult<Option<StopSign>> {
        Ok(None)
    }

    fn trim(&mut self, _: usize) -> StorageResult<()> {
        Ok(())
    }

    fn set_compacted_idx(&mut self, _: usize) -> StorageResult<()> {
        Ok(())
    }

    fn get_compacted_idx(&self) -> StorageResult<usize> {
        Ok(usize::try_from(self.journal.bounds().0.index)?)
    }

    fn set_snapshot(&mut self, _: Option<NoSnapshot>) -> StorageResult<()> {
        Ok(())
    }

    fn get_snapshot(&self) -> StorageResult<Option<NoSnapshot>> {
        Ok(None)
    }
}
