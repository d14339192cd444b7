//! Control orders that decide otherwise than they should: what they do to a command right before it is applied, the same on
//! all members.

use shardbearer_core::control::{Change, ControlCommand};
use shardbearer_core::ids::OrderId;
use shardbearer_core::membership::MemberChange;
use shardbearer_core::rebalancing::RebalanceChange;
use shardbearer_core::topology::Topology;
use shardbearer_sim::disk::Disk;
use shardbearer_state::controller;

use crate::invariants::Stored;

/// What is wrong with the decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whim {
    /// What was decided on an epoch that is over is taken as if it had been decided just now.
    OldOnes,
    /// Of an order that is to exchange one member only one stays.
    TwoAtOnce,
    /// Nobody remembers who asked.
    Unexplained,
}

impl Whim {
    /// What becomes of a command on the machine of this disk.
    pub fn spoil(self, disk: &Disk, command: &mut ControlCommand) {
        let Some(present) = Stored::on(disk, OrderId::CONTROL) else { return };
        let Ok(Some(present)) = controller::topology(&present) else { return };
        match (self, &mut command.change) {
            (
                Whim::OldOnes,
                Change::Members { on, .. } | Change::Rebalance(RebalanceChange::Move { on, .. }),
            ) => {
                *on = present.epoch;
            }
            (Whim::TwoAtOnce, Change::Members { change, .. }) => shrink(&present, change),
            (Whim::Unexplained, _) => command.who.clear(),
            _ => {}
        }
    }
}

fn shrink(present: &Topology, change: &mut MemberChange) {
    let MemberChange::Begin { order, .. } = *change else { return };
    let members = present.order(order).map_or(&[][..], |order| &order.members);
    let members = members.iter().copied().take(1).collect();
    *change = MemberChange::List { order, members, learners: Vec::new() };
}
