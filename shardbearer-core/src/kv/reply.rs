//! What commands are answered. Everything here is the same on every replica.

use bytes::Bytes;

use super::Migrated;

#[cfg(doc)]
use super::Command;

/// A key's value and what is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The value.
    pub value: Bytes,
    /// Strictly growing per key, also across deletes and moves. Never 0.
    pub revision: u64,
    /// Unix milliseconds; `None` if it does not expire.
    pub expires_at_ms: Option<u64>,
}

/// A record without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordInfo {
    /// Length of the value in bytes.
    pub length: u64,
    /// As in [`Record`].
    pub revision: u64,
    /// As in [`Record`].
    pub expires_at_ms: Option<u64>,
}

/// A row of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub key: Bytes,
    /// Its record; the value is empty where only keys were asked for.
    pub record: Record,
}

/// The answer to a [`Command`].
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To a get.
    Record(Option<Record>),
    /// To an inspect.
    Info(Option<RecordInfo>),
    /// The put happened.
    Written {
        /// The key's new revision.
        revision: u64,
        /// What it replaced, if asked for.
        previous: Option<Record>,
    },
    /// The delete was carried out, whether or not there was anything.
    Deleted {
        /// Whether there was such a key.
        existed: bool,
        /// What was removed, if asked for.
        previous: Option<Record>,
    },
    /// The condition did not hold; nothing was written.
    ConditionFailed {
        /// What is there.
        current: Option<Record>,
    },
    /// After an increment.
    Number {
        /// The new value.
        value: i64,
        /// The key's new revision.
        revision: u64,
    },
    /// After a fractional increment.
    Decimal {
        /// The new value as text.
        value: Bytes,
        /// The key's new revision.
        revision: u64,
    },
    /// After an append or an overwrite.
    Length {
        /// Length of the whole value in bytes.
        length: u64,
        /// The key's revision.
        revision: u64,
    },
    /// Whether the command changed anything.
    Touched {
        /// It did.
        changed: bool,
    },
    /// To a batch, a reply per command.
    Batch {
        /// Whether the commands took effect.
        applied: bool,
        /// In the order of the commands.
        replies: Vec<Reply>,
    },
    /// To a scan.
    Page {
        /// In key order.
        rows: Vec<Row>,
        /// Whether there is more after the last row.
        more: bool,
    },
    /// To a count.
    Count {
        /// Live rows.
        rows: u64,
        /// Bytes of their keys and values.
        bytes: u64,
    },
    /// To a sweep.
    Swept {
        /// Rows removed.
        removed: u32,
        /// Whether more is due.
        more: bool,
    },
    /// To a step of a migration.
    Migrated(Migrated),
    /// The data refuse the command; nothing was written.
    Refused(Refusal),
}

/// Why data refuse a command. The same on every replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The value is not a decimal integer of 64 bits.
    NotAnInteger,
    /// The value is not a finite decimal number.
    NotANumber,
    /// The result would leave the range of its type.
    Overflow,
    /// The value would grow beyond the limit, or the answers would.
    TooLarge {
        /// Bytes allowed.
        limit: u64,
    },
    /// This order does not own the shard at this log position.
    WrongOrder,
    /// The session's memory of this request was already given up; whether it was applied is unknown.
    SessionExpired,
    /// The shard remembers as many sessions as it may, all of them in recent use. Not applied; try again later.
    SessionsFull,
    /// The commands do not belong together (nested batch, keys of several shards, ...).
    Malformed(String),
}

impl Reply {
    /// About how many bytes it has.
    pub fn weight(&self) -> usize {
        const FIXED: usize = 48;
        let record = |record: &Option<Record>| record.as_ref().map_or(0, |record| record.value.len());
        FIXED
            + match self {
                Reply::Record(found) => record(found),
                Reply::Written { previous, .. } | Reply::Deleted { previous, .. } => record(previous),
                Reply::ConditionFailed { current } => record(current),
                Reply::Decimal { value, .. } => value.len(),
                Reply::Batch { replies, .. } => replies.iter().map(Reply::weight).sum(),
                Reply::Page { rows, .. } => {
                    rows.iter().map(|row| FIXED + row.key.len() + row.record.value.len()).sum()
                }
                Reply::Migrated(migrated) => migrated.weight(),
                Reply::Info(_)
                | Reply::Number { .. }
                | Reply::Length { .. }
                | Reply::Touched { .. }
                | Reply::Count { .. }
                | Reply::Swept { .. }
                | Reply::Refused(_) => 0,
            }
    }
}
