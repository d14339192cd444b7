//! By load: every order has its share of it by weight, as far as moving whole shards can do that.
//!
//! The load of a shard is the mean of its shares of what there is: shards, bytes, reads and writes, each counted only if
//! there is enough of it to mean anything. So an idle cluster is spread by count, a full one also by bytes, a busy one by
//! all.
//!
//! It cannot oscillate under a steady load: every move takes at least the least gain off the fuller of its two orders
//! without making the other as full, so the sum of squares over all orders falls with each.

use std::collections::BTreeMap;

use shardbearer_core::ids::OrderId;
use shardbearer_core::rebalancing::Reason;

use super::{Load, Move, Plan, ShardSight, Sight, blocked};

/// All load there is.
const ALL: u64 = 1_000_000;

/// Less than this in the whole cluster says nothing: bytes.
const BYTES_MIN: u64 = 1 << 20;
/// And operations a second.
const RATE_MIN: u64 = 50;

/// Moves in one plan; the loads are others by then.
const MOVES_MAX: usize = 256;

/// The load of each shard in millionths of all.
pub(super) fn scores(sight: &Sight) -> Vec<u64> {
    type Part = fn(&Load) -> u64;
    let parts: [(Part, u64); 4] = [
        (|_| 1, 1),
        (|load| load.bytes, BYTES_MIN),
        (|load| load.reads, RATE_MIN),
        (|load| load.writes, RATE_MIN),
    ];
    let total = |part: Part| sight.shards.iter().map(|shard| u128::from(part(&shard.load))).sum::<u128>();
    let counted: Vec<(Part, u128)> = parts
        .into_iter()
        .map(|(part, least)| (part, total(part), least))
        .filter(|(_, total, least)| *total >= u128::from(*least))
        .map(|(part, total, _)| (part, total))
        .collect();
    let score = |shard: &ShardSight| {
        let sum: u128 = counted
            .iter()
            .map(|(part, total)| u128::from(part(&shard.load)) * u128::from(ALL) / total.max(&1))
            .sum();
        (sum / counted.len().max(1) as u128) as u64 // at most ALL
    };
    sight.shards.iter().map(score).collect()
}

/// What is being spread.
struct Spread<'a> {
    sight: &'a Sight,
    scores: Vec<u64>,
    owners: Vec<OrderId>,
    /// What each order has beyond its share; shares are by weight.
    over: BTreeMap<OrderId, i64>,
    share: BTreeMap<OrderId, i64>,
    moved: Vec<bool>,
}

pub(super) fn plan(sight: &Sight, gain_min_percent: u32, plan: &mut Plan) {
    let mut spread = Spread::new(sight);
    spread.forced(plan);
    let taking = sight.orders.iter().filter(|order| order.weight > 0).count().max(1) as i64;
    let gain_min = (spread.total() * i64::from(gain_min_percent) / 100 / taking).max(1);
    while plan.moves.len() < MOVES_MAX {
        let Some(made) = spread.best(gain_min) else { return };
        plan.moves.push(made);
    }
}

impl<'a> Spread<'a> {
    fn new(sight: &'a Sight) -> Spread<'a> {
        let scores = scores(sight);
        let owners: Vec<OrderId> = sight.shards.iter().map(|shard| shard.order).collect();
        let weights: i64 = sight.orders.iter().map(|order| i64::from(order.weight)).sum();
        let total: i64 = scores.iter().map(|score| *score as i64).sum();
        let share = |weight: u32| (total * i64::from(weight)).checked_div(weights).unwrap_or(0);
        let share: BTreeMap<OrderId, i64> =
            sight.orders.iter().map(|order| (order.id, share(order.weight))).collect();
        let mut over: BTreeMap<OrderId, i64> = share.iter().map(|(id, share)| (*id, -share)).collect();
        for (owner, score) in owners.iter().zip(&scores) {
            over.entry(*owner).and_modify(|over| *over += *score as i64);
        }
        let moved = vec![false; owners.len()];
        Spread { sight, scores, owners, over, share, moved }
    }

    fn total(&self) -> i64 {
        self.scores.iter().map(|score| *score as i64).sum()
    }

    fn over(&self, order: OrderId) -> i64 {
        self.over.get(&order).copied().unwrap_or(0)
    }

    /// Pins, and shards of orders that take none.
    fn forced(&mut self, plan: &mut Plan) {
        for index in 0..self.owners.len() {
            let shard = &self.sight.shards[index];
            let Some(why) = self.sight.must_go(shard) else { continue };
            let emptiest = || {
                let taking = self.sight.orders.iter().filter(|order| order.weight > 0);
                let able = taking.filter(|order| self.sight.obstacle(shard.order, order.id).is_none());
                able.min_by_key(|order| (self.over(order.id), order.id)).map(|order| order.id)
            };
            let to = self.sight.pin(shard).or_else(emptiest);
            let obstacle = to.map(|to| self.sight.obstacle(shard.order, to));
            match (to, obstacle) {
                (Some(to), Some(None)) => {
                    let made = self.make(index, to, Some(why), Vec::new());
                    plan.moves.push(made);
                }
                (_, Some(Some(obstacle))) => {
                    blocked(plan, format!("shard {} does not move: {obstacle}", shard.id))
                }
                (_, _) => blocked(plan, format!("shard {} does not move: no order can take it", shard.id)),
            }
        }
    }

    /// The move that helps the fullest order most, with a gain that is large enough.
    fn best(&mut self, gain_min: i64) -> Option<Move> {
        let able = self.sight.orders.iter().filter(|order| order.up);
        let mut givers: Vec<OrderId> = able.clone().map(|order| order.id).collect();
        givers.sort_by_key(|id| (std::cmp::Reverse(self.over(*id)), *id));
        let takers: Vec<OrderId> = able.filter(|order| order.weight > 0).map(|order| order.id).collect();
        for from in givers {
            // (gain, shard, taker) of everything that could be moved from here, the best first.
            let mut all: Vec<(i64, usize, OrderId)> = Vec::new();
            for index in (0..self.owners.len()).filter(|index| self.may_move(*index, from)) {
                let score = self.scores[index] as i64;
                let taker = takers.iter().filter(|to| **to != from).min_by_key(|to| (self.over(**to), **to));
                if let Some(to) = taker {
                    let gain = self.over(from) - (self.over(from) - score).max(self.over(*to) + score);
                    all.push((gain, index, *to));
                }
            }
            all.retain(|(gain, _, _)| *gain >= gain_min);
            all.sort_by_key(|(gain, index, _)| (std::cmp::Reverse(*gain), *index));
            if let Some((_, index, to)) = all.first().copied() {
                let others = all.iter().skip(1).take(2).map(|(gain, index, to)| {
                    format!(
                        "shard {} to order {to} instead: takes {} off order {from}",
                        self.sight.shards[*index].id,
                        percent(*gain)
                    )
                });
                let stay =
                    format!("to leave it: order {from} stays {} above its share", percent(self.over(from)));
                let alternatives = std::iter::once(stay).chain(others).collect();
                return Some(self.make(index, to, None, alternatives));
            }
        }
        None
    }

    /// No shard moves twice in a plan, and none that is pinned.
    fn may_move(&self, index: usize, from: OrderId) -> bool {
        let shard = &self.sight.shards[index];
        self.owners[index] == from && !self.moved[index] && self.sight.pin(shard).is_none()
    }

    fn make(&mut self, index: usize, to: OrderId, forced: Option<String>, alternatives: Vec<String>) -> Move {
        let (shard, from) = (self.sight.shards[index].id, self.owners[index]);
        let score = self.scores[index] as i64;
        let load = |spread: &Spread<'_>, id: OrderId| {
            percent(spread.over(id) + spread.share.get(&id).copied().unwrap_or(0))
        };
        let before = [load(self, from), load(self, to)];
        let why = forced.clone().unwrap_or_else(|| {
            let share = |id: OrderId| percent(self.share.get(&id).copied().unwrap_or(0));
            let ([of_from, of_to], load) = (before.clone(), percent(score));
            format!(
                "order {from} has {of_from} of the load, its share is {}; order {to} has {of_to}, its share is {}; \
                 the shard has {load}",
                share(from),
                share(to)
            )
        });
        self.over.entry(from).and_modify(|over| *over -= score);
        self.over.entry(to).and_modify(|over| *over += score);
        (self.owners[index], self.moved[index]) = (to, true);
        let [of_from, of_to] = before;
        let predicted = format!(
            "order {from} has {} of the load instead of {of_from}, order {to} has {} instead of {of_to}",
            load(self, from),
            load(self, to)
        );
        let reason = Reason { predicted, alternatives };
        Move { shard, from, to, forced: forced.is_some(), why, reason }
    }
}

/// Millionths of all load in words.
fn percent(load: i64) -> String {
    format!("{:.1} %", load as f64 / (ALL as f64 / 100.0))
}
