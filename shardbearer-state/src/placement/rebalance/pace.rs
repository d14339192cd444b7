//! When a plan may be begun. The plan itself wants nothing where nothing is to be gained; this is about time: things are
//! left to settle before a plan is begun, and to be measured before the next one.

use std::collections::BTreeMap;

use shardbearer_core::ids::{Epoch, OrderId, ShardId};
use shardbearer_core::migration::{Migration, Phase};
use shardbearer_core::rebalancing::{Mode, Policy};

/// How long a shard whose move was called off is left alone after the first time; twice as long after each further.
const AVOID_MS: u64 = 30_000;
/// And at most.
const AVOID_MS_MAX: u64 = 30 * 60_000;

/// The times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// For so long nothing may have changed about orders, weights and pins before a plan is begun by itself.
    pub settle_ms: u64,
    /// So long after the last move of a plan the next may be begun by itself; with [`Mode::Load`], after every move,
    /// because loads have to be measured anew.
    pub cool_down_ms: u64,
}

/// What has to be remembered of the past. A new scherald begins without, and waits until things have settled.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Pace {
    /// The policy and the orders that are led, and since when.
    wanted: Option<(Policy, Vec<(OrderId, bool)>)>,
    wanted_since_ms: u64,
    /// The last migration that was seen to be over, and when.
    ended: Option<(Epoch, u64)>,
    /// Whether a plan was begun and there was more to do when it was last looked at.
    acting: bool,
    /// Shards whose moves were called off: how often, and until when they are left alone.
    avoided: BTreeMap<ShardId, (u32, u64)>,
}

impl Pace {
    /// Takes in what there is now. `now_ms` is of any clock that does not go back.
    pub fn see(
        &mut self,
        now_ms: u64,
        policy: &Policy,
        orders: Vec<(OrderId, bool)>,
        last: Option<&Migration>,
    ) {
        // What a run does to the policy is no news.
        let policy = Policy { running: None, paused: false, ..policy.clone() };
        if self.wanted.as_ref().is_none_or(|(before, led)| *before != policy || *led != orders) {
            self.wanted = Some((policy, orders));
            self.wanted_since_ms = now_ms;
        }
        let Some(over) = last.filter(|last| last.phase.is_over()) else { return };
        if self.ended.is_some_and(|(id, _)| id == over.id) {
            return;
        }
        self.ended = Some((over.id, now_ms));
        if over.phase == Phase::Returned {
            let times = self.avoided.get(&over.shard).map_or(0, |(times, _)| *times);
            let wait = (AVOID_MS << times.min(10)).min(AVOID_MS_MAX);
            self.avoided.insert(over.shard, (times + 1, now_ms.saturating_add(wait)));
        } else {
            self.avoided.remove(&over.shard);
        }
    }

    /// Whether a shard is left alone, because its last move was called off.
    pub fn avoids(&self, now_ms: u64, shard: ShardId) -> bool {
        self.avoided.get(&shard).is_some_and(|(_, until)| now_ms < *until)
    }

    /// Whether the next move that is wanted by itself may be begun now. `more`: whether one is wanted.
    pub fn may_begin(&mut self, now_ms: u64, mode: Mode, rest: Rest, more: bool) -> bool {
        if !more || !mode.is_automatic() {
            self.acting = false;
            return false;
        }
        let settled = now_ms.saturating_sub(self.wanted_since_ms) >= rest.settle_ms;
        let cool = self.ended.is_none_or(|(_, at)| now_ms.saturating_sub(at) >= rest.cool_down_ms);
        let goes_on = self.acting && mode != Mode::Load;
        self.acting = settled && (goes_on || cool);
        self.acting
    }

    /// How long ago the last migration was seen to be over; `None` if none was.
    pub fn ended(&self, now_ms: u64) -> Option<(Epoch, u64)> {
        self.ended.map(|(id, at)| (id, now_ms.saturating_sub(at)))
    }
}
