//! What a driver asks for, and what it is told of it. Whoever performs the effects (`shardbearer/src/migrate/`) decides nothing.

use shardbearer_core::ids::Epoch;
use shardbearer_core::kv::{Migrated, Part, Step};
use shardbearer_core::migration::{Migration, MigrationChange};

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Read the record from the control order, and what this order has of the shard. Answered by [`Event::Looked`].
    Look,
    /// Propose a change to the control order, with its reason. Answered by [`Event::Control`].
    Control(MigrationChange, String),
    /// A step or question for the source. Answered by [`Event::Source`].
    Source(Step),
    /// A step of this order. Answered by [`Event::Own`].
    Own(Step),
    /// A step of this order, and at the same time a question for the source. Answered by [`Event::Both`] when both are.
    Both {
        /// The step.
        own: Step,
        /// The question. It does not depend on the step.
        source: Step,
    },
    /// Wait so many milliseconds. Answered by [`Event::Waited`].
    Wait(u64),
    /// There is nothing more to do.
    Over,
}

/// What came of an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The record and this order's part; the record is `None` if it cannot be had now.
    Looked(Option<Box<Migration>>, Part),
    /// The epoch that the control order answered, or why it did not or refused.
    Control(Result<Epoch, Failure>),
    /// The source's answer.
    Source(Result<Migrated, Failure>),
    /// This order's answer.
    Own(Result<Migrated, Failure>),
    /// This order's answer and the source's.
    Both(Result<Migrated, Failure>, Result<Migrated, Failure>),
    /// The time has passed.
    Waited,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A sentence.
    pub why: String,
    /// Whether a full disk is the reason.
    pub disk_full: bool,
}
