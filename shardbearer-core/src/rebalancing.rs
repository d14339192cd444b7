//! How shards are to be spread over orders: the policy that a configuration carries, and its changes. How it is carried
//! out is decided by `shardbearer_state::placement`.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{Epoch, OrderId, RadiantId, ShardId};

/// Weight of an order of which nothing else is said.
pub const WEIGHT_DEFAULT: u32 = 1;

/// The highest weight: enough for any ratio that makes sense, and no product of it overflows.
pub const WEIGHT_MAX: u32 = 10_000;

/// What is wanted of the placement.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Policy {
    /// Who decides that shards move.
    pub mode: Mode,
    /// An operator asked for a plan of this kind, and it is not carried out yet.
    pub running: Option<Mode>,
    /// No move is begun, whoever asked.
    pub paused: bool,
    /// Shards that belong to a certain order.
    pub pins: BTreeMap<ShardId, OrderId>,
    /// Weights other than [`WEIGHT_DEFAULT`]; 0 takes no shards.
    pub weights: BTreeMap<OrderId, u32>,
    /// Orders that are emptied and then removed.
    pub removing: BTreeSet<OrderId>,
    /// The highest id that an order ever had, where that one is gone: ids are never given twice.
    pub highest_removed: OrderId,
}

/// Who decides that shards move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Mode {
    /// Nobody: `rebalance` is refused too.
    Off,
    /// The operator, by `rebalance`.
    #[default]
    Manual,
    /// The scherald, by the number of shards.
    Count,
    /// The scherald, by what shards hold and how much they are read and written.
    Load,
}

impl Mode {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Off => "off",
            Mode::Manual => "manual",
            Mode::Count => "count",
            Mode::Load => "load",
        }
    }

    /// The inverse of [`Mode::name`].
    pub fn named(name: &str) -> Option<Mode> {
        [Mode::Off, Mode::Manual, Mode::Count, Mode::Load].into_iter().find(|mode| mode.name() == name)
    }

    /// Whether the scherald begins by itself.
    pub fn is_automatic(self) -> bool {
        match self {
            Mode::Off | Mode::Manual => false,
            Mode::Count | Mode::Load => true,
        }
    }
}

impl Policy {
    /// An order's weight; one that is to be removed has none.
    pub fn weight(&self, order: OrderId) -> u32 {
        match self.removing.contains(&order) {
            true => 0,
            false => self.weights.get(&order).copied().unwrap_or(WEIGHT_DEFAULT),
        }
    }
}

/// Why a shard is moved, as known when it was decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Reason {
    /// What it should change, a sentence; empty where an operator named the move.
    pub predicted: String,
    /// What else could have been done, and why it was not, a sentence each.
    pub alternatives: Vec<String>,
}

/// A change of the policy, or what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RebalanceChange {
    /// Another mode.
    Mode(Mode),
    /// Carry a plan of this kind out once; none: stop doing so.
    Run(Option<Mode>),
    /// Begin no move, or begin moves again.
    Pause(bool),
    /// A shard belongs to this order, none: to any.
    Pin {
        /// The shard.
        shard: ShardId,
        /// Its order.
        to: OrderId,
    },
    /// Another weight.
    Weight {
        /// The order.
        order: OrderId,
        /// Its share of the shards, relative to the others.
        weight: u32,
    },
    /// A new order without shards.
    Create {
        /// Its engine.
        engine: String,
        /// Its members, the one that leads first in front.
        members: Vec<RadiantId>,
    },
    /// The order is to be emptied and removed, or is to stay after all.
    Remove {
        /// The order.
        order: OrderId,
        /// Whether.
        remove: bool,
    },
    /// The order is empty: it is no more.
    Removed {
        /// The order.
        order: OrderId,
    },
    /// A migration that the plan wants. Refused unless the configuration is still the one of `on`.
    Move {
        /// The configuration on which it was decided.
        on: Epoch,
        /// The shard.
        shard: ShardId,
        /// Where it shall be.
        to: OrderId,
        /// Why.
        reason: Reason,
    },
    /// What a migration has really changed, measured after it was over.
    Measured {
        /// Which one.
        id: Epoch,
        /// A sentence.
        effect: String,
    },
}
