//! The record of a migration as the control order keeps it: one shard on its way from one order to another, or a new one on
//! its way out of the shard that it is split off.
//!
//! ```text
//!   Planned ─▶ Copying ─▶ Frozen ─▶ Serving ─▶ Collected        over
//!      └──────────┴─────────┴─▶ Returning ─▶ Returned           over
//! ```
//!
//! `Frozen` is entered **before** the source is asked to stop, `Serving` **before** the destination is asked to begin:
//! so the record says at every moment what may have happened. The step from `Frozen` to `Serving` decides:
//! it is an entry of the control order's log and makes the epoch in which the destination owns the shard. That the
//! destination holds all rows was verified before, and is its own standing rather than one of the record's.

use crate::ids::{Epoch, OrderId, ShardId};
use crate::rebalancing::Reason;

/// A migration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Migration {
    /// The epoch that began it names it.
    pub id: Epoch,
    /// The shard. Of a split: the new one, of which there is nothing before it is decided.
    pub shard: ShardId,
    /// Of a split: what it is split off.
    pub split: Option<Split>,
    /// Of a split: the slot before which the parent ended when it was planned, which is the new shard's end; 0 of a move.
    pub until: u16,
    /// The order that gives it.
    pub from: OrderId,
    /// The order that takes it, and whose herald drives. Of a split it may be the same.
    pub to: OrderId,
    /// How far it is.
    pub phase: Phase,
    /// Whether the copying waits for the operator.
    pub paused: bool,
    /// Who asked for it.
    pub who: String,
    /// Why.
    pub why: String,
    /// What it should change, and what else could have been done.
    pub reason: Reason,
    /// What it really changed; empty until that is known.
    pub effect: String,
    /// Why it is called off; empty if it is not.
    pub called_off: String,
    /// When it began, in Unix milliseconds.
    pub started_ms: u64,
    /// When it last changed, in Unix milliseconds.
    pub changed_ms: u64,
    /// The epoch that ended it: the destination's, or that of the return.
    pub ended: Epoch,
    /// Of a return: whether the source serves again for good.
    pub released: bool,
    /// Of a return: whether the destination has dropped what it had.
    pub discarded: bool,
    /// Grows with every change, so that the newer of two copies is known.
    pub version: u64,
    /// What the driver last said of it.
    pub report: Report,
}

/// Where a shard is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Split {
    /// The shard that is divided. It keeps its name, its order and its lower slots.
    pub parent: ShardId,
    /// The first slot of the new shard.
    pub at: u16,
}

/// How far a migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Phase {
    /// Decided, nothing done.
    #[default]
    Planned,
    /// Rows cross while the source serves.
    Copying,
    /// The source may have stopped; the last changes cross.
    Frozen,
    /// The destination owns the shard.
    Serving,
    /// Over: the source has dropped its copy.
    Collected,
    /// Called off; both orders are being told.
    Returning,
    /// Over: the shard is where it was.
    Returned,
}

/// Progress, for people.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Report {
    /// Rows copied so far, changes included.
    pub rows: u64,
    /// Bytes copied so far, changes included.
    pub bytes: u64,
    /// Bytes of the shard.
    pub bytes_total: u64,
    /// Bytes a second that were copied lately, as measured; zero if that is not known yet.
    pub rate: u64,
    /// Rounds of changes so far.
    pub rounds: u64,
    /// The key copied last.
    pub cursor: Vec<u8>,
    /// Why it does not go on at the moment; empty if it does.
    pub blocker: String,
}

/// A change of the migration in the control order. Each names the migration and has no effect on another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MigrationChange {
    /// Begins one, if there is none under way.
    Plan {
        /// The shard.
        shard: ShardId,
        /// Where it shall be.
        to: OrderId,
    },
    /// Begins a split, if no migration is under way.
    Split {
        /// The shard that is divided, and where.
        split: Split,
        /// Where the new shard shall be.
        to: OrderId,
    },
    /// Begins the opposite of one, which is the last. Done already if it is followed by its opposite.
    Undo {
        /// Which one; none: the last one, whichever that is, as in logs of older programs.
        id: Epoch,
    },
    /// The operator halts the copying, or lets it go on.
    Pause {
        /// Which one.
        id: Epoch,
        /// Halt or go on.
        paused: bool,
    },
    /// Calls it off, unless the destination owns the shard already. The command's `why` is the reason.
    Cancel {
        /// Which one.
        id: Epoch,
    },
    /// The destination is ready for rows.
    Copy {
        /// Which one.
        id: Epoch,
    },
    /// The source is about to be asked to stop.
    Freeze {
        /// Which one.
        id: Epoch,
    },
    /// Everything is at the destination, and was compared: it owns the shard from now on.
    Commit {
        /// Which one.
        id: Epoch,
    },
    /// The source has dropped its copy.
    Collected {
        /// Which one.
        id: Epoch,
    },
    /// After a cancel: who is done with it.
    Returned {
        /// Which one.
        id: Epoch,
        /// The source serves for good.
        released: bool,
        /// The destination has dropped what it had.
        discarded: bool,
    },
    /// News for people.
    Report {
        /// Which one.
        id: Epoch,
        /// The news.
        report: Report,
    },
}

impl Phase {
    /// Whether nothing remains to be done.
    pub fn is_over(self) -> bool {
        matches!(self, Phase::Collected | Phase::Returned)
    }

    /// Whether the source still owns the shard and it can be called off.
    pub fn can_return(self) -> bool {
        matches!(self, Phase::Planned | Phase::Copying | Phase::Frozen)
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Planned => "planned",
            Phase::Copying => "copying",
            Phase::Frozen => "frozen",
            Phase::Serving => "serving",
            Phase::Collected => "collected",
            Phase::Returning => "returning",
            Phase::Returned => "returned",
        }
    }
}

impl Migration {
    /// The shard that the source has: the one that moves, or the one that is split.
    pub fn source(&self) -> ShardId {
        self.split.map_or(self.shard, |split| split.parent)
    }

    /// Of a split the slot from which on rows cross; 0: all rows do.
    pub fn at(&self) -> u16 {
        self.split.map_or(0, |split| split.at)
    }

    /// Whether this copy of a record is newer than another.
    pub fn is_newer_than(&self, other: &Migration) -> bool {
        (self.id, self.version) > (other.id, other.version)
    }
}
