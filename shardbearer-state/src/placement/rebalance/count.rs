//! By the number of shards: every order has its share by weight, within one, and no more moves are made than that takes.
//!
//! It cannot oscillate: what is even is left alone, and among placements that are equally even the present one wins.

use std::collections::BTreeMap;

use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::rebalancing::Reason;

use super::super::even;
use super::{Move, Plan, Sight, blocked};

pub(super) fn plan(sight: &Sight, plan: &mut Plan) {
    let ids: Vec<ShardId> = sight.shards.iter().map(|shard| shard.id).collect();
    let current: Vec<OrderId> = sight.shards.iter().map(|shard| shard.order).collect();
    let desired = even::assign(&ids, &sight.views(), &sight.pins(), &current);
    let shares = counted(&desired);
    let mut held = counted(&current);
    let mut left: Vec<usize> =
        (0..ids.len()).filter(|i| current[*i] != desired[*i] && !desired[*i].is_none()).collect();
    // What has to go goes first; then always from the fullest, so that a plan that is stopped has done what it could.
    while let Some(at) = (0..left.len()).max_by_key(|at| {
        let shard = &sight.shards[left[*at]];
        let over = count(&held, shard.order).saturating_sub(count(&shares, shard.order));
        (sight.must_go(shard).is_some(), over, std::cmp::Reverse(shard.id))
    }) {
        let index = left.remove(at);
        let (shard, to) = (&sight.shards[index], desired[index]);
        let from = shard.order;
        let forced = sight.must_go(shard);
        if let Some(why) = sight.obstacle(from, to) {
            blocked(plan, format!("shard {} does not move from order {from} to order {to}: {why}", shard.id));
            continue;
        }
        let [had, gets] = [count(&held, from), count(&held, to)];
        let why = match &forced {
            Some(why) => why.clone(),
            None => format!(
                "order {from} has {had} shards, its share is {}; order {to} has {gets}, its share is {}",
                count(&shares, from),
                count(&shares, to)
            ),
        };
        let predicted = format!(
            "order {from} has {} shards instead of {had}, order {to} has {} instead of {gets}",
            had.saturating_sub(1),
            gets + 1
        );
        let alternatives = alternatives(sight, &held, &shares, from, to, forced.is_some());
        held.entry(from).and_modify(|held| *held = held.saturating_sub(1));
        *held.entry(to).or_default() += 1;
        let reason = Reason { predicted, alternatives };
        plan.moves.push(Move { shard: shard.id, from, to, forced: forced.is_some(), why, reason });
    }
}

/// Other orders that lack shards, and staying.
fn alternatives(
    sight: &Sight,
    held: &BTreeMap<OrderId, usize>,
    shares: &BTreeMap<OrderId, usize>,
    from: OrderId,
    to: OrderId,
    forced: bool,
) -> Vec<String> {
    /// More would not be read.
    const SHOWN: usize = 3;
    let mut all = Vec::new();
    if !forced {
        all.push(format!("to leave it with order {from}, which has more than its share"));
    }
    for order in sight.orders.iter().filter(|order| ![from, to].contains(&order.id)) {
        let lacks = count(shares, order.id).saturating_sub(count(held, order.id));
        if lacks > 0 {
            all.push(format!("to order {}, which lacks {lacks} and gets others", order.id));
        }
    }
    all.truncate(SHOWN);
    all
}

fn counted(owners: &[OrderId]) -> BTreeMap<OrderId, usize> {
    let mut counts = BTreeMap::new();
    for owner in owners {
        *counts.entry(*owner).or_default() += 1;
    }
    counts
}

fn count(counts: &BTreeMap<OrderId, usize>, order: OrderId) -> usize {
    counts.get(&order).copied().unwrap_or(0)
}
