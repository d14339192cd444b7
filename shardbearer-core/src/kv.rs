//! What clients ask and what they are answered: the vocabulary of the data path.
//!
//! A [`Command`] is a domain value; how it looks on the wire or in a log is the business of
//! `shardbearer-proto`. A refusal by the data itself (a condition that failed, a value that is no
//! number) is a [`Reply`] like any other, the same on every replica; a failure of the way there
//! is an [`crate::error::RequestError`].

mod migrate;
mod reply;

use bytes::Bytes;

use crate::ids::{SessionId, ShardId};

pub use self::migrate::{
    Import, Migrate, Migrated, MovedRow, Part, Progress, Seal, Standing, Step, rows_weight,
};
pub use self::reply::{Record, RecordInfo, Refusal, Reply, Row};

/// Names one request of one session, so that a retry takes effect at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// The client's session.
    pub session: SessionId,
    /// The request's number in the session, counted from 1. Several may be in flight.
    pub number: u64,
    /// The lowest number the client still waits for; replies below it may be forgotten.
    pub unanswered_from: u64,
    /// Whether this request may have been sent before. A shard that had to forget sessions answers a retry
    /// that it does not remember with [`Refusal::SessionExpired`]; a first attempt it can apply.
    pub retry: bool,
}

/// One command for one shard, as it travels through router, order and log.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The shard that the key maps to. Checked against ownership when applied.
    pub shard: ShardId,
    /// Absent for reads and for commands whose caller takes `Unknown` for an answer.
    pub id: Option<RequestId>,
    /// Of a command on a whole shard: the slot before which the shard ends as its caller knows it; 0: not said. A shard that
    /// was split refuses whoever would take a part of it for the whole.
    pub until: u16,
    /// What to do.
    pub command: Command,
}

/// One entry of a data order's log: everything that waited when it was proposed.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Entry {
    /// The herald's wall clock in Unix milliseconds. Applied as the maximum seen so far, so that
    /// time never goes back and replicas agree on what has expired.
    pub time_ms: u64,
    /// Applied in this order.
    pub items: Vec<Item>,
}

/// What must hold of the key for a write to happen.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Condition {
    /// Always write.
    #[default]
    Always,
    /// Only if there is no such key.
    Absent,
    /// Only if there is such a key.
    Present,
    /// Only if the key's revision is this one; 0 means absent.
    Revision(u64),
    /// Only if the key holds exactly this value.
    Value(Bytes),
    /// Only if the key is absent or holds another value than this.
    NotValue(Bytes),
}

/// What a write does to the time at which the key expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Expiry {
    /// The key does not expire (any earlier expiry is removed).
    #[default]
    Never,
    /// The key keeps the expiry it has.
    Keep,
    /// The key expires at this time, in Unix milliseconds.
    At(u64),
}

/// When [`Command::Expire`] takes effect, given the key's present expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ExpireWhen {
    /// Whatever it is.
    #[default]
    Always,
    /// Only if the key has none.
    HasNone,
    /// Only if the key has one.
    HasOne,
    /// Only if the new one is later (none counts as infinitely late).
    Later,
    /// Only if the new one is earlier (none counts as infinitely late).
    Earlier,
    /// Only if the key has one, and the new one is earlier.
    HasOneAndEarlier,
}

/// An operation on one shard.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// The key's value. Answers [`Reply::Record`].
    Get {
        /// The key.
        key: Bytes,
    },
    /// Everything about the key but its value. Answers [`Reply::Info`].
    Inspect {
        /// The key.
        key: Bytes,
    },
    /// Sets the key. Answers [`Reply::Written`] or [`Reply::ConditionFailed`].
    Put {
        /// The key.
        key: Bytes,
        /// The new value.
        value: Bytes,
        /// What must hold.
        condition: Condition,
        /// What becomes of its expiry.
        expiry: Expiry,
        /// Whether the answer carries the record that was replaced.
        previous: bool,
    },
    /// Removes the key. Answers [`Reply::Deleted`] or [`Reply::ConditionFailed`].
    Delete {
        /// The key.
        key: Bytes,
        /// What must hold.
        condition: Condition,
        /// Whether the answer carries the record that was removed.
        previous: bool,
    },
    /// Adds to a decimal integer; an absent key counts as 0. Keeps the expiry. Answers [`Reply::Number`].
    Increment {
        /// The key.
        key: Bytes,
        /// What to add; may be negative.
        by: i64,
    },
    /// Adds to a decimal fraction; an absent key counts as 0. Keeps the expiry. Answers [`Reply::Decimal`].
    IncrementFloat {
        /// The key.
        key: Bytes,
        /// What to add; finite.
        by: f64,
    },
    /// Appends to the value; an absent key counts as empty. Keeps the expiry. Answers [`Reply::Length`].
    Append {
        /// The key.
        key: Bytes,
        /// What to append.
        value: Bytes,
    },
    /// Overwrites part of the value, padding with zero bytes. Keeps the expiry. Answers [`Reply::Length`].
    SetRange {
        /// The key.
        key: Bytes,
        /// Where to start, in bytes.
        offset: u64,
        /// What to put there; if empty nothing changes and no key is created.
        value: Bytes,
    },
    /// Changes the expiry alone; `None` removes it. A time that has passed deletes the key.
    /// Answers [`Reply::Touched`].
    Expire {
        /// The key.
        key: Bytes,
        /// Unix milliseconds.
        at_ms: Option<u64>,
        /// In which case.
        when: ExpireWhen,
    },
    /// A guard inside a [`Command::Batch`]: if it does not hold, nothing of the batch happens.
    /// Alone it answers [`Reply::Touched`] or [`Reply::ConditionFailed`].
    Check {
        /// The key.
        key: Bytes,
        /// What must hold.
        condition: Condition,
    },
    /// All in one step, in order, none seen half done. A failed [`Command::Check`] makes the whole
    /// answer [`Reply::ConditionFailed`]; any other refusal is the reply of its command alone.
    /// With `all_or_nothing` any refusal or failed condition undoes the whole and the answer is
    /// [`Reply::Batch`] with `applied == false`. Batches do not nest. Answers [`Reply::Batch`].
    Batch {
        /// Commands on keys of one shard.
        commands: Vec<Command>,
        /// Whether one refusal undoes all.
        all_or_nothing: bool,
    },
    /// Rows in key order. Answers [`Reply::Page`]. Never in a log.
    Scan(Scan),
    /// How many live rows the shard holds. Answers [`Reply::Count`]. Never in a log.
    Count,
    /// Removes every row. Revisions keep growing, sessions stay. Answers [`Reply::Touched`].
    Clear,
    /// The order takes the shard as its own at its founding, empty. Has no effect where the order has any record of the
    /// shard, also of having given it away, so that a late repeat does no harm. Proposed by the
    /// herald, never by a client. Answers [`Reply::Touched`].
    Adopt {
        /// The configuration that says so.
        epoch: u64,
    },
    /// Removes rows whose expiry has passed at the entry's time, and advances the shard's time.
    /// Proposed by the herald. Answers [`Reply::Swept`].
    Sweep {
        /// At most so many rows.
        limit: u32,
    },
    /// A step of the shard's migration. Proposed by heralds. Answers [`Reply::Migrated`].
    Migrate(Migrate),
}

/// A page request over one shard.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Scan {
    /// First key wanted, inclusive; empty means from the start.
    pub start: Bytes,
    /// Last key wanted, exclusive; empty means to the end.
    pub end: Bytes,
    /// Rows at most; 0 means the limit of the server.
    pub limit: u32,
    /// Bytes of keys and values at most; 0 means the limit of the server. One row is always allowed.
    pub bytes: u64,
    /// Whether rows come without their values.
    pub keys_only: bool,
}

impl Item {
    /// A command of this radiant's own.
    pub fn of(shard: ShardId, command: Command) -> Item {
        Item { shard, id: None, until: 0, command }
    }
}

impl Command {
    /// Whether this must go through the log. Reads are answered from applied state.
    pub fn is_write(&self) -> bool {
        match self {
            Command::Get { .. } | Command::Inspect { .. } | Command::Scan(_) | Command::Count => false,
            Command::Put { .. }
            | Command::Delete { .. }
            | Command::Increment { .. }
            | Command::IncrementFloat { .. }
            | Command::Append { .. }
            | Command::SetRange { .. }
            | Command::Expire { .. }
            | Command::Clear
            | Command::Adopt { .. }
            | Command::Sweep { .. } => true,
            Command::Check { .. } => false,
            Command::Migrate(migrate) => migrate.step.is_write(),
            Command::Batch { commands, .. } => commands.iter().any(Command::is_write),
        }
    }

    /// The key that decides the shard: of a batch, that of its first command; `None` where the
    /// command concerns a whole shard.
    pub fn key(&self) -> Option<&Bytes> {
        match self {
            Command::Get { key }
            | Command::Inspect { key }
            | Command::Put { key, .. }
            | Command::Delete { key, .. }
            | Command::Increment { key, .. }
            | Command::IncrementFloat { key, .. }
            | Command::Append { key, .. }
            | Command::SetRange { key, .. }
            | Command::Expire { key, .. }
            | Command::Check { key, .. } => Some(key),
            Command::Batch { commands, .. } => commands.first().and_then(Command::key),
            Command::Scan(_)
            | Command::Count
            | Command::Clear
            | Command::Adopt { .. }
            | Command::Migrate(_)
            | Command::Sweep { .. } => None,
        }
    }

    /// About how many bytes this occupies in a queue or log.
    pub fn weight(&self) -> usize {
        const FIXED: usize = 48;
        FIXED
            + match self {
                Command::Get { key } | Command::Inspect { key } => key.len(),
                Command::Put { key, value, condition, .. } => key.len() + value.len() + condition.weight(),
                Command::Delete { key, condition, .. } | Command::Check { key, condition } => {
                    key.len() + condition.weight()
                }
                Command::Append { key, value } | Command::SetRange { key, value, .. } => {
                    key.len() + value.len()
                }
                Command::Increment { key, .. }
                | Command::IncrementFloat { key, .. }
                | Command::Expire { key, .. } => key.len(),
                Command::Batch { commands, .. } => commands.iter().map(Command::weight).sum(),
                Command::Migrate(migrate) => migrate.weight(),
                Command::Scan(scan) => scan.start.len() + scan.end.len(),
                Command::Count | Command::Clear | Command::Adopt { .. } | Command::Sweep { .. } => 0,
            }
    }
}

impl Condition {
    fn weight(&self) -> usize {
        match self {
            Condition::Value(value) | Condition::NotValue(value) => value.len(),
            Condition::Always | Condition::Absent | Condition::Present | Condition::Revision(_) => 0,
        }
    }
}
