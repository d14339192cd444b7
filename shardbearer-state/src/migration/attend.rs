//! What the herald of the source does by itself: it has the shard back when the migration is called off. That it drops its copy
//! after one that is completed is the driver's to ask for; only where that found nobody does [`left_over`] see to it afterwards.

use shardbearer_core::ids::{Epoch, OrderId, ShardId};
use shardbearer_core::kv::{Part, Standing, Step};
use shardbearer_core::migration::{Migration, MigrationChange, Phase};

/// A shard that was frozen for so long is taken back: its writers have waited enough, and their deadlines are not
/// far. Long enough for the destination to elect another herald, which may still complete the move.
pub const FROZEN_MS_MAX: u64 = 3_000;

/// A destination that does not say within so long that it has dropped what it had of a migration that was called off is not
/// waited for: other shards are to move. It drops that when it is back, because of [`left_over`].
pub const DISCARD_MS_MAX: u64 = 3_000;

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
    /// Since when the control order is seen to know that, by the same clock.
    released_ms: Option<u64>,
}

impl Attendant {
    /// Decides from the record and what the order has of the shard.
    pub fn duty(&mut self, record: &Migration, part: &Part, now_ms: u64) -> Duty {
        let id = record.id;
        if part.standing != Standing::Frozen {
            self.frozen_ms = None;
        }
        match record.phase {
            Phase::Returning if record.released => {
                let since = *self.released_ms.get_or_insert(now_ms);
                if now_ms.saturating_sub(since) < DISCARD_MS_MAX {
                    return Duty::Nothing;
                }
                let change = MigrationChange::Returned { id, released: true, discarded: true };
                Duty::Control(change, "the destination is gone, and drops what it has when it is back")
            }
            Phase::Returning if self.released => {
                let change = MigrationChange::Returned { id, released: true, discarded: false };
                Duty::Control(change, "the source serves")
            }
            Phase::Returning => Duty::Step(Step::Release),
            Phase::Frozen if part.standing == Standing::Frozen => {
                let since = *self.frozen_ms.get_or_insert(now_ms);
                if now_ms.saturating_sub(since) < FROZEN_MS_MAX {
                    return Duty::Nothing;
                }
                Duty::Control(MigrationChange::Cancel { id }, "the shard was frozen for too long")
            }
            // What stays here is served again as soon as it is decided who owns the rest, and waits for nobody.
            Phase::Serving if record.split.is_some() && part.standing == Standing::Frozen => {
                Duty::Step(Step::Collect { epoch: record.ended, until: record.at() })
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
            // A source that never had the shard, or lost it, has nothing to release either.
            let has_nothing = matches!(part.standing, Standing::Absent | Standing::Gone);
            let serves = part.standing.serves() && part.migration >= record.id;
            self.released = !part.more && (serves || has_nothing);
        }
    }
}

/// A shard by the configuration of an epoch, as known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The shard.
    pub shard: ShardId,
    /// The configuration's epoch.
    pub epoch: Epoch,
    /// Its order; none of a shard that there is not.
    pub order: OrderId,
    /// The slot before which it ends; 0 if that cannot be told.
    pub until: u16,
    /// Whether it ends there because it was split there, or what it came of was.
    pub cut: bool,
}

/// What an order has still to do about a shard, of a migration that is over: it was gone when that ended. `last` is the last
/// migration: nothing is said if that or the configuration are too old to know how it ended. The step is one of the
/// migration beside it.
///
/// Nothing can have become of the shard meanwhile: while an order stands so, it neither gives nor takes the shard in another
/// migration, nor a part of it. So whoever owns it now has owned it since, and it ends where it has ended since.
pub fn left_over(last: &Migration, part: &Part, here: OrderId, owned: Owned) -> Option<(Epoch, Step)> {
    let Owned { shard, epoch, order: owner, until, cut } = owned;
    let earlier = part.migration < last.id;
    let over = earlier || part.migration == last.id && last.phase.is_over();
    let known = epoch >= last.id && epoch >= last.ended;
    let lost = known && last.from == here && last.phase == Phase::Collected && earlier;
    // Ends only ever come nearer, so who takes more than an epoch says is behind it, not ahead.
    let free = last.phase.is_over() || last.source() != shard && last.shard != shard;
    let takes_more = cut && (part.until == 0 || part.until > until);
    let (migration, step) = match part.standing {
        _ if !over => return None,
        Standing::Serving if part.pruning => {
            (part.migration, Step::Collect { epoch: last.ended.max(part.migration), until: part.until })
        }
        Standing::Arriving | Standing::Verified if earlier || last.phase == Phase::Returned => {
            (part.migration, Step::Discard)
        }
        // Of a split the owner says nothing, for that is the same either way. It may have been split further since.
        Standing::Leaving | Standing::Frozen if part.at != 0 && known && cut && until <= part.at => {
            (part.migration, Step::Collect { epoch, until })
        }
        Standing::Leaving | Standing::Frozen if part.at != 0 && known && until != 0 => {
            (part.migration, Step::Release)
        }
        Standing::Leaving | Standing::Frozen if part.at != 0 => return None,
        Standing::Leaving | Standing::Frozen if known && owner == here => (part.migration, Step::Release),
        Standing::Leaving | Standing::Frozen if known => (part.migration, Step::Collect { epoch, until: 0 }),
        // It lost the end of its log, and with it that it has given a part of the shard away, in whichever migration; or all of it.
        Standing::Serving if known && earlier && free && owner == here && takes_more => {
            (last.id, Step::Collect { epoch, until })
        }
        Standing::Serving if lost && owner != here => (last.id, Step::Collect { epoch, until: 0 }),
        Standing::Arriving
        | Standing::Verified
        | Standing::Leaving
        | Standing::Frozen
        | Standing::Absent
        | Standing::Serving
        | Standing::Gone => return None,
    };
    Some((migration, step))
}
