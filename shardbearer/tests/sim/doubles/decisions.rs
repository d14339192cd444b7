//! Control orders that decide otherwise than they should: what they do to a command right before it is applied, the same on
//! all members.

use bytes::Bytes;
use parking_lot::Mutex;
use shardbearer_core::control::{Change, ControlCommand};
use shardbearer_core::engine::ConsensusEngine;
use shardbearer_core::error::RequestError;
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::membership::MemberChange;
use shardbearer_core::rebalancing::RebalanceChange;
use shardbearer_core::topology::Topology;
use shardbearer_proto::convert;
use shardbearer_sim::disk::Disk;
use shardbearer_state::controller;

use crate::invariants::Stored;

/// What is wrong with the decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whim {
    /// What was decided on an epoch that is over is taken as if it had been decided just now.
    OldOnes,
    /// The same of what a deposed scherald was about to decide, which its successor takes up: see [`Left`].
    OfTheDeposed,
    /// Of an order that is to exchange one member only one stays.
    TwoAtOnce,
    /// Nobody remembers who asked.
    Unexplained,
}

/// Decisions under way, with who made them. Of a scherald that is deposed or cut off they stay here.
pub type Left = Mutex<Vec<(RadiantId, Bytes)>>;

/// Who asks for what was left.
const DEPOSED: &str = "a deposed scherald";

/// Proposes a decision, and after it what others have left.
pub async fn take_up(
    left: &Left,
    me: RadiantId,
    engine: &dyn ConsensusEngine,
    entry: Bytes,
) -> Result<Bytes, RequestError> {
    left.lock().push((me, entry.clone()));
    // Whoever waits for it may give up meanwhile.
    let outcome = engine.propose(entry.clone()).await;
    if outcome.is_ok() {
        let mut all = std::mem::take(&mut *left.lock());
        all.retain(|(_, one)| *one != entry);
        let (mine, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(who, _)| *who == me);
        left.lock().extend(mine);
        for (_, entry) in others {
            let mut command = convert::control_command_from_bytes(entry).expect("the order's own");
            command.who = DEPOSED.into();
            // It is not said whether it was.
            let _ = engine.propose(convert::control_command_to_bytes(&command)).await;
        }
    }
    outcome
}

impl Whim {
    /// What becomes of a command on the machine of this disk.
    pub fn spoil(self, disk: &Disk, command: &mut ControlCommand) {
        let Some(present) = Stored::on(disk, OrderId::CONTROL) else { return };
        let Ok(Some(present)) = controller::topology(&present) else { return };
        match (self, &mut command.change) {
            (Whim::OfTheDeposed, _) if command.who != DEPOSED => {}
            (
                Whim::OldOnes | Whim::OfTheDeposed,
                Change::Members { on, .. } | Change::Rebalance(RebalanceChange::Move { on, .. }),
            ) => *on = present.epoch,
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
