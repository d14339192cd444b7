//! Policies and their changes.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use shardbearer_core::ids::{Epoch, OrderId, ShardId};
use shardbearer_core::rebalancing::{Mode, Policy, Reason, RebalanceChange};

use super::{radiants, text};

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Off), Just(Mode::Manual), Just(Mode::Count), Just(Mode::Load)]
}

fn order() -> impl Strategy<Value = OrderId> {
    any::<u64>().prop_map(OrderId)
}

fn shard() -> impl Strategy<Value = ShardId> {
    any::<u64>().prop_map(ShardId)
}

pub(super) fn policy() -> impl Strategy<Value = Policy> {
    let maps = (btree_map(shard(), order(), 0..4), btree_map(order(), any::<u32>(), 0..4));
    (mode(), option::of(mode()), any::<bool>(), maps, btree_set(order(), 0..3), order()).prop_map(
        |(mode, running, paused, (pins, weights), removing, highest_removed)| Policy {
            mode,
            running,
            paused,
            pins,
            weights,
            removing,
            highest_removed,
        },
    )
}

pub(super) fn reason() -> impl Strategy<Value = Reason> {
    (text(), vec(text(), 0..3)).prop_map(|(predicted, alternatives)| Reason { predicted, alternatives })
}

pub(super) fn change() -> impl Strategy<Value = RebalanceChange> {
    prop_oneof![
        mode().prop_map(RebalanceChange::Mode),
        option::of(mode()).prop_map(RebalanceChange::Run),
        any::<bool>().prop_map(RebalanceChange::Pause),
        (shard(), order()).prop_map(|(shard, to)| RebalanceChange::Pin { shard, to }),
        (order(), any::<u32>()).prop_map(|(order, weight)| RebalanceChange::Weight { order, weight }),
        (text(), radiants()).prop_map(|(engine, members)| RebalanceChange::Create { engine, members }),
        (order(), any::<bool>()).prop_map(|(order, remove)| RebalanceChange::Remove { order, remove }),
        order().prop_map(|order| RebalanceChange::Removed { order }),
        (any::<u64>(), shard(), order(), reason())
            .prop_map(|(on, shard, to, reason)| RebalanceChange::Move { on: Epoch(on), shard, to, reason }),
        (any::<u64>(), text()).prop_map(|(id, effect)| RebalanceChange::Measured { id: Epoch(id), effect }),
    ]
}
