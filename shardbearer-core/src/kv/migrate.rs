//! The steps of a shard's migration as the two orders see them, each an entry of one order's log or a question to
//! its applied state.
//!
//! ```text
//!   source       Serving ──Watch──▶ Leaving ──Freeze──▶ Frozen ──Collect──▶ Gone
//!                   ▲                  │                  │
//!                   └─────Release──────┴──────────────────┘
//!   destination  (nothing) ──Begin──▶ Arriving ──Import with a seal──▶ Verified ──Activate──▶ Serving
//!                                        └────────Discard──────────────────┴──▶ Gone
//! ```
//!
//! Of a split, the source's steps name the shard that is divided and the destination's the new one. `Watch` says from which
//! slot on rows cross, and is repeated until they are weighed. `Collect` leaves the source serving: it says where the shard
//! ends from now on, and is repeated until what is behind is dropped.
//!
//! Every step names its migration. An order that knows a later one refuses it, and a step that is taken already changes
//! nothing; so steps may be repeated, delayed and reordered. The answer is the order's [`Part`] as it is
//! afterwards: whoever sent the step reads there whether it holds.

use bytes::Bytes;

use crate::ids::Epoch;

/// A step of a migration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Migrate {
    /// The migration, named by the epoch that began it.
    pub migration: Epoch,
    /// What to do.
    pub step: Step,
}

/// What an order does in a step.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Source: note from now on which rows change.
    Watch {
        /// Of a split: the slot from which on rows cross; 0: all do. They are weighed in pieces: the answer says whether
        /// there is more of that to do.
        at: u16,
    },
    /// Source, a question: rows in key order. Answers [`Migrated::Image`].
    Image {
        /// Behind this row key; empty: from the first.
        after: Bytes,
        /// Bytes at most; one row is always allowed.
        bytes: u64,
    },
    /// Source, a question: rows that changed. Answers [`Migrated::Changes`].
    Changes {
        /// Behind this note.
        after: u64,
        /// Bytes at most; one row is always allowed.
        bytes: u64,
    },
    /// Source: the destination has the changes up to this note.
    Forget {
        /// The last one it has.
        through: u64,
    },
    /// Source: serve no longer.
    Freeze,
    /// Source: the migration is called off, serve on.
    Release,
    /// Source: the destination owns what crossed, drop the rows.
    Collect {
        /// The epoch that says so.
        epoch: Epoch,
        /// Of a split: the slot before which the shard ends from now on. What is behind is dropped in pieces, by the steps
        /// after the first. 0: the whole shard is given away.
        until: u16,
    },
    /// Destination: prepare an empty space.
    Begin,
    /// Destination: take rows.
    Import(Box<Import>),
    /// Destination: serve.
    Activate {
        /// The epoch that says so.
        epoch: Epoch,
    },
    /// Destination: the migration is called off, drop the rows.
    Discard,
}

impl Step {
    /// Whether this goes through the log.
    pub fn is_write(&self) -> bool {
        !matches!(self, Step::Image { .. } | Step::Changes { .. })
    }
}

/// Rows for the destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Import {
    /// Where the destination must be for these rows to fit on. Elsewhere they are a repetition or come too late.
    pub from: Progress,
    /// Where it is with them.
    pub to: Progress,
    /// The last note of the source when the rows were read. Rows read before changes that the destination has
    /// taken already are refused, for they would go back.
    pub seen: u64,
    /// The rows.
    pub rows: Vec<MovedRow>,
    /// What everything must come to, if these are the last rows.
    pub seal: Option<Seal>,
}

/// A row of a shard as it is stored; `None`: there is no such row. A row without a key says that all rows before it are
/// gone: the shard was cleared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MovedRow {
    /// As in the shard's space.
    pub key: Bytes,
    /// As in the shard's space.
    pub value: Option<Bytes>,
}

/// How far the destination is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Progress {
    /// The last row key copied.
    pub image: Bytes,
    /// Whether that was the last of all.
    pub complete: bool,
    /// The last note taken.
    pub through: u64,
}

/// What a frozen shard comes to. The two digests are sums, so the order of rows does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Seal {
    /// The last revision given to any key.
    pub revision: u64,
    /// The shard's time in Unix milliseconds.
    pub time_ms: u64,
    /// Whether any session was ever forgotten.
    pub forgot: bool,
    /// Rows.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Of the rows.
    pub digest: u64,
    /// Of the sessions.
    pub sessions: u64,
    /// The slot at which the shard begins, if it is one that came of a split; 0: where it was founded.
    pub from: u16,
    /// The slot before which the shard ends, if it or what it came of was split behind it; 0: where that was founded.
    pub until: u16,
}

/// How an order stands to a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Standing {
    /// It never had it.
    #[default]
    Absent,
    /// It serves it.
    Serving,
    /// It serves it and notes what changes.
    Leaving,
    /// It serves it no longer and still has it.
    Frozen,
    /// It receives it.
    Arriving,
    /// It has received it, and everything is there.
    Verified,
    /// It had it. The record stays, so that late steps are known for what they are.
    Gone,
}

impl Standing {
    /// Whether requests are answered.
    pub fn serves(self) -> bool {
        match self {
            Standing::Serving | Standing::Leaving => true,
            Standing::Absent
            | Standing::Frozen
            | Standing::Arriving
            | Standing::Verified
            | Standing::Gone => false,
        }
    }
}

/// What an order has of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Part {
    /// How it stands.
    pub standing: Standing,
    /// The last migration that it took part in.
    pub migration: Epoch,
    /// Rows.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// The last note.
    pub noted: u64,
    /// Of a destination: how far it is.
    pub progress: Progress,
    /// Of a source that is being split: from which slot on rows cross; 0 of any other. Rows and bytes are those that cross.
    pub at: u16,
    /// The slot at which it begins, if it came of a split; 0 if not.
    pub from: u16,
    /// The slot before which it ends, if it or what it came of was split; 0 if not.
    pub until: u16,
    /// Whether rows behind that are yet to be dropped.
    pub pruning: bool,
    /// Whether the same step has more to do.
    pub more: bool,
}

/// The answer to a [`Migrate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Migrated {
    /// What the order has after the step, whether or not that changed anything.
    Part(Part),
    /// The rows received are not those that were sent.
    Differs {
        /// What came to be here.
        here: Seal,
        /// What should have.
        wanted: Seal,
    },
    /// Rows in key order.
    Image {
        /// The rows.
        rows: Vec<MovedRow>,
        /// The last key that was looked at: of a split not every row crosses. Empty if there was none.
        through: Bytes,
        /// Whether there are none behind.
        complete: bool,
        /// The last note at that moment.
        seen: u64,
    },
    /// Rows that changed, as they are now.
    Changes {
        /// The rows.
        rows: Vec<MovedRow>,
        /// The last note that is answered by them.
        through: u64,
        /// The last note at that moment.
        seen: u64,
        /// Whether notes were lost because there were too many: the copy cannot be completed.
        lost: bool,
        /// Set if the shard is frozen and these are the last changes.
        seal: Option<Seal>,
    },
}

impl Migrate {
    /// About how many bytes this occupies.
    pub fn weight(&self) -> usize {
        match &self.step {
            Step::Import(import) => rows_weight(&import.rows),
            Step::Image { after, .. } => after.len(),
            Step::Watch { .. }
            | Step::Changes { .. }
            | Step::Forget { .. }
            | Step::Freeze
            | Step::Release
            | Step::Collect { .. }
            | Step::Begin
            | Step::Activate { .. }
            | Step::Discard => 0,
        }
    }
}

impl Migrated {
    /// About how many bytes this has.
    pub fn weight(&self) -> usize {
        match self {
            Migrated::Image { rows, .. } | Migrated::Changes { rows, .. } => rows_weight(rows),
            Migrated::Part(_) | Migrated::Differs { .. } => 0,
        }
    }
}

/// About how many bytes rows have.
pub fn rows_weight(rows: &[MovedRow]) -> usize {
    const FIXED: usize = 16;
    rows.iter().map(|row| FIXED + row.key.len() + row.value.as_ref().map_or(0, Bytes::len)).sum()
}
