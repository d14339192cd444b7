//! Rebalancing: from who has which shard to who should, as a list of moves with their reasons. Pure: the same sight, the
//! same plan, on every radiant.
//!
//! ```text
//!   policy, placement, loads ──▶ plan ──▶ the first of its moves ──▶ a migration ──▶ a new placement ──▶ plan ...
//! ```
//!
//! - [`mod@count`]: every order has its share of the shards by weight, within one; the fewest moves
//! - [`mod@load`]: every order has its share of the load, within a least gain
//! - [`Pace`]: when the scherald begins, and when it waits, so that shards do not go to and fro
//!
//! A plan is made anew before each of its moves, so nothing of it has to survive a crash. What is not here: moving.

mod count;
mod load;
mod pace;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::placement::OrderView;
use shardbearer_core::rebalancing::{Mode, Reason};
use shardbearer_core::topology::Topology;

pub use self::pace::{Pace, Rest};

/// What a shard holds and how much it is used, as its herald says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Load {
    /// Live rows.
    pub rows: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// A second, over some time.
    pub reads: u64,
    /// A second, over some time.
    pub writes: u64,
}

/// An order as the planner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderSight {
    /// The order.
    pub id: OrderId,
    /// Its share relative to the others; 0 takes none.
    pub weight: u32,
    /// Whether somebody leads it: otherwise nothing can be moved from or to it.
    pub up: bool,
}

/// A shard as the planner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardSight {
    /// The shard.
    pub id: ShardId,
    /// Its owner.
    pub order: OrderId,
    /// Where it belongs whatever the shares are; none: anywhere.
    pub pin: OrderId,
    /// Its load.
    pub load: Load,
}

/// Everything that a plan is made from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Sight {
    /// Data orders, ascending.
    pub orders: Vec<OrderSight>,
    /// Shards, ascending.
    pub shards: Vec<ShardSight>,
}

/// One shard to be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The shard.
    pub shard: ShardId,
    /// Its owner.
    pub from: OrderId,
    /// Who is to own it.
    pub to: OrderId,
    /// Whether it has to go, whatever the shares are: a pin, an order that takes no shards.
    pub forced: bool,
    /// Why, a sentence.
    pub why: String,
    /// What it should change, and what else could have been done.
    pub reason: Reason,
}

/// An order before and after a plan. Loads are in millionths of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Share {
    /// The order.
    pub id: OrderId,
    /// Its weight.
    pub weight: u32,
    /// Shards now.
    pub shards_before: usize,
    /// Shards after all moves.
    pub shards_after: usize,
    /// Load now.
    pub load_before: u64,
    /// Load after all moves.
    pub load_after: u64,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Plan {
    /// In the order in which they should be made.
    pub moves: Vec<Move>,
    /// Ascending by order.
    pub shares: Vec<Share>,
    /// What should be moved and cannot be now, a sentence each.
    pub blockers: Vec<String>,
}

impl Sight {
    /// From the configuration, what is known of loads, and which orders are led.
    pub fn new(topology: &Topology, load: impl Fn(ShardId) -> Load, up: impl Fn(OrderId) -> bool) -> Sight {
        let policy = &topology.policy;
        let data = topology.orders.iter().filter(|order| !order.id.is_control());
        let orders =
            data.map(|order| OrderSight { id: order.id, weight: policy.weight(order.id), up: up(order.id) });
        let shards =
            topology.tables.iter().flat_map(|table| &table.shards).filter(|shard| !shard.order.is_none());
        let shards = shards.map(|shard| ShardSight {
            id: shard.id,
            order: shard.order,
            pin: policy.pins.get(&shard.id).copied().unwrap_or(OrderId::NONE),
            load: load(shard.id),
        });
        let mut sight = Sight { orders: orders.collect(), shards: shards.collect() };
        sight.shards.sort_unstable_by_key(|shard| shard.id);
        sight
    }

    fn views(&self) -> Vec<OrderView> {
        self.orders.iter().map(|order| OrderView { id: order.id, weight: order.weight }).collect()
    }

    fn pins(&self) -> BTreeMap<ShardId, OrderId> {
        let pinned = self.shards.iter().filter(|shard| !shard.pin.is_none());
        pinned.map(|shard| (shard.id, shard.pin)).collect()
    }

    fn order(&self, id: OrderId) -> Option<OrderSight> {
        self.orders.iter().find(|order| order.id == id).copied()
    }

    /// Where a shard belongs, if it is pinned to an order that there is.
    fn pin(&self, shard: &ShardSight) -> Option<OrderId> {
        Some(shard.pin).filter(|pin| self.order(*pin).is_some())
    }

    /// Why a shard cannot stay, if it cannot.
    fn must_go(&self, shard: &ShardSight) -> Option<String> {
        match (self.pin(shard), self.order(shard.order)) {
            (Some(pin), _) if pin == shard.order => None,
            (Some(pin), _) => Some(format!("it is pinned to order {pin}")),
            (None, None) => Some(format!("order {} is no more", shard.order)),
            (None, Some(order)) if order.weight == 0 => Some(format!("order {} takes no shards", order.id)),
            (None, Some(_)) => None,
        }
    }

    /// Why nothing can be moved between two orders, if nothing can.
    fn obstacle(&self, from: OrderId, to: OrderId) -> Option<String> {
        let down = [from, to].into_iter().find(|id| self.order(*id).is_none_or(|order| !order.up))?;
        Some(format!("order {down} has no herald"))
    }

    /// This sight after some moves.
    pub fn after(&self, moves: &[Move]) -> Sight {
        let mut sight = self.clone();
        for shard in &mut sight.shards {
            if let Some(made) = moves.iter().rev().find(|made| made.shard == shard.id) {
                shard.order = made.to;
            }
        }
        sight
    }
}

/// What to do for a mode. `gain_min_percent` is the least that a move has to take off an order, in percent of the
/// orders' average load; only [`Mode::Load`] knows it.
pub fn plan(sight: &Sight, mode: Mode, gain_min_percent: u32) -> Plan {
    let mut plan = Plan::default();
    if !sight.shards.is_empty() && sight.orders.iter().all(|order| order.weight == 0) {
        plan.blockers.push("no order takes shards: every weight is 0".into());
    } else {
        match mode {
            Mode::Load => load::plan(sight, gain_min_percent, &mut plan),
            Mode::Off | Mode::Manual | Mode::Count => count::plan(sight, &mut plan),
        }
    }
    plan.shares = shares(sight, &plan.moves);
    plan
}

/// The shares of all orders before and after some moves.
pub fn shares(sight: &Sight, moves: &[Move]) -> Vec<Share> {
    let scores = load::scores(sight);
    let after = sight.after(moves);
    let of = |sight: &Sight, id: OrderId| -> (usize, u64) {
        let own = sight.shards.iter().zip(&scores).filter(|(shard, _)| shard.order == id);
        own.fold((0, 0), |(count, load), (_, score)| (count + 1, load + score))
    };
    let share = |order: &OrderSight| {
        let ((shards_before, load_before), (shards_after, load_after)) =
            (of(sight, order.id), of(&after, order.id));
        let (id, weight) = (order.id, order.weight);
        Share { id, weight, shards_before, shards_after, load_before, load_after }
    };
    sight.orders.iter().map(share).collect()
}

/// Notes that something should be done and cannot be, once.
fn blocked(plan: &mut Plan, why: String) {
    if !plan.blockers.contains(&why) {
        plan.blockers.push(why);
    }
}
