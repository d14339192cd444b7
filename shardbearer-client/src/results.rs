//! What calls answer.

use shardbearer_core::kv::Record;

/// A write that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The key's new revision.
    pub revision: u64,
    /// What it replaced, if asked for.
    pub previous: Option<Record>,
}

/// A delete that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Whether there was such a key.
    pub existed: bool,
    /// What was removed, if asked for.
    pub previous: Option<Record>,
}

/// The result of an increment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// The new value.
    pub value: i64,
    /// The key's new revision.
    pub revision: u64,
}

/// The result of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Of the whole value, in bytes.
    pub length: u64,
    /// The key's new revision.
    pub revision: u64,
}

/// How much a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Live rows.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// The result of a write with a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conditional<T> {
    /// The condition held.
    Done(T),
    /// It did not; nothing was written.
    ConditionFailed {
        /// What is there.
        current: Option<Record>,
    },
}
