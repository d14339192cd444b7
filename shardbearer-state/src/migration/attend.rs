//! What the herald of the source does by itself.

use shardbearer_core::kv::{Part, Standing, Step};
use shardbearer_core::migration::{Migration, MigrationChange, Phase};

/// A shard that was frozen for so long is taken back: its writers have waited enough, and their deadlines are not
/// far. Long enough for the destination to elect another herald, which may still complete the move.
pub const FROZEN_MS_MAX: u64 = 3_000;

/// What is to be done at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
    /// A step in the source's own log. Its answer goes to [`Attendant::done`].
    Step(Step),
    /// A change in the control order, and why.
    Control(MigrationChange, &'static str),
    /// Nothing now; look again soon.
    Nothing,
}

/// The source's side of one migration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attendant {
    /// Since when the shard is seen frozen, in milliseconds of any clock that does not go back.
    frozen_ms: Option<u64>,
    /// The source serves again and has no notes left.
    released: bool,
}

impl Attendant {
    /// Decides from the record and what the order has of the shard.
    pub fn duty(&mut self, record: &Migration, part: &Part, now_ms: u64) -> Duty {
        let id = record.id;
        if part.standing != Standing::Frozen {
            self.frozen_ms = None;
        }
        match record.phase {
            Phase::Returning if record.released => Duty::Nothing,
            Phase::Returning if self.released => {
                let change = MigrationChange::Returned { id, released: true, discarded: false };
                Duty::Control(change, "the source serves")
            }
            Phase::Returning => Duty::Step(Step::Release),
            Phase::Serving if part.standing == Standing::Frozen => {
                Duty::Step(Step::Collect { epoch: record.ended })
            }
            Phase::Frozen if part.standing == Standing::Frozen => {
                let since = *self.frozen_ms.get_or_insert(now_ms);
                if now_ms.saturating_sub(since) < FROZEN_MS_MAX {
                    return Duty::Nothing;
                }
                Duty::Control(MigrationChange::Cancel { id }, "the shard was frozen for too long")
            }
            Phase::Planned
            | Phase::Copying
            | Phase::Frozen
            | Phase::Serving
            | Phase::Collected
            | Phase::Returned => Duty::Nothing,
        }
    }

    /// Takes in the answer to a step.
    pub fn done(&mut self, record: &Migration, part: &Part) {
        if record.phase == Phase::Returning {
            // A source that never had the shard has nothing to release either.
            self.released = !part.more && part.standing.serves() && part.migration >= record.id;
        }
    }
}
