//! The durable log of all orders of one radiant: one place to append, one fsync for everybody.

use std::ops::Range;

use bytes::Bytes;
use thiserror::Error;

use crate::ids::OrderId;

/// A position in an order's log. `index` counts from 1; 0 means "before the first entry".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct LogPos {
    /// The term (or ballot) in which the entry was proposed.
    pub term: u64,
    /// The entry's number.
    pub index: u64,
}

/// An entry as stored. The payload is opaque here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Where it stands.
    pub position: LogPos,
    /// The engine's bytes.
    pub payload: Bytes,
}

/// One change of an order's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogWrite {
    /// Adds an entry directly after the last one (or, in an empty log, after what was purged).
    Append(LogRecord),
    /// Removes the entries from this index on.
    Truncate {
        /// First index removed.
        from: u64,
    },
    /// Replaces the engine's hard state (its vote), whole.
    Hard(Bytes),
    /// Forgets the entries up to and including this one; it need not be present.
    Purge {
        /// Last position forgotten.
        upto: LogPos,
    },
}

/// What an order's log holds.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Bounds {
    /// The last position purged; zero if none was.
    pub purged: LogPos,
    /// The last entry's position; equals `purged` if the log is empty.
    pub last: LogPos,
    /// The hard state, if any was written.
    pub hard: Option<Bytes>,
}

/// Why a log cannot be used. Any write error poisons the whole store: it is never retried.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LogError {
    /// The disk refused. The store takes no more writes.
    #[error("log: {0}")]
    Io(String),
    /// Bytes on disk are not what was written.
    #[error("log: {file} is damaged at byte {offset}: {what}")]
    Corrupt {
        /// The segment.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// No space for another segment. Nothing was written; the store goes on when there is space again.
    #[error("log: the disk is full: {0}")]
    Full(String),
    /// The caller broke the contract (a gap, an append below the end, ...).
    #[error("log: {0}")]
    Misuse(String),
    /// An earlier error stopped the store.
    #[error("log: stopped after an earlier error: {0}")]
    Poisoned(String),
}

/// Called once, from any thread, when a write is durable or has failed.
pub type LogDone = Box<dyn FnOnce(Result<(), LogError>) + Send>;

/// The log of all orders of one radiant.
///
/// Writes of one order take effect in the order of the calls; writes of all orders share fsyncs.
pub trait LogStore: Send + Sync {
    /// Applies `writes` as one atomic batch. When this returns the batch is readable; when `done`
    /// is called with `Ok` it is durable and survives a loss of power, with everything written
    /// before it. Never blocks for the disk. An error returned here means nothing was written,
    /// and `done` is then not called.
    fn write(&self, order: OrderId, writes: Vec<LogWrite>, done: LogDone) -> Result<(), LogError>;

    /// The entries with an index in `range`, in order, cut after `bytes_max` bytes of payload (one
    /// entry is always allowed). Indexes that were purged or do not exist yet end or shorten the result;
    /// never a gap inside it.
    fn entries(
        &self,
        order: OrderId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<LogRecord>, LogError>;

    /// What the order's log holds, including what is not durable yet.
    fn bounds(&self, order: OrderId) -> Bounds;

    /// Orders of which anything is stored, ascending.
    fn orders(&self) -> Vec<OrderId>;

    /// Forgets everything about an order, its hard state included. For orders this radiant has left. Durable when it returns,
    /// so it may block for the disk.
    fn remove(&self, order: OrderId) -> Result<(), LogError>;

    /// Bytes on disk.
    fn disk_bytes(&self) -> u64;

    /// Bytes of log on disk that this order alone keeps from being given back, roughly; what decides who compacts.
    fn held_bytes(&self, order: OrderId) -> u64;
}
