//! Requests that wait together become one for the door.
//!
//! Only requests that would wait for the same thing are put together: the same order, as every answer of a
//! group comes when its last does, and reads apart from writes, as a read has no disk to wait for.

use std::time::Duration;

use shardbearer_core::ids::OrderId;
use shardbearer_core::kv::Command;
use shardbearer_core::limits;

use super::translate::{Asked, Slots};
use crate::kv::{Call, Door, Request, Target};

/// Requests that are carried out as one.
pub(super) struct Group {
    /// What is common to them; `None` for a request that stays alone.
    common: Option<Common>,
    weight: usize,
    /// For the door.
    pub(super) request: Request,
    /// In the order of their calls in `request`.
    pub(super) parts: Vec<Slots>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Common {
    order: OrderId,
    write: bool,
    deadline: Duration,
}

/// Groups requests that arrived in this order.
pub(super) fn coalesce(door: &dyn Door, waiting: impl Iterator<Item = Asked>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for asked in waiting {
        let common = common(door, &asked);
        // From the back: a full group of the same kind is followed by the one that still has room.
        let group = groups.iter_mut().rev().find(|group| common.is_some() && group.takes(common, &asked));
        match group {
            Some(group) => group.add(asked),
            None => groups.push(Group::of(common, asked)),
        }
    }
    groups
}

impl Group {
    fn of(common: Option<Common>, mut asked: Asked) -> Group {
        let (table, deadline, weight) = (std::mem::take(&mut asked.table), asked.deadline, asked.weight);
        let (calls, slots) = asked.split();
        Group { common, weight, request: Request { table, calls, deadline }, parts: vec![slots] }
    }

    fn takes(&self, common: Option<Common>, asked: &Asked) -> bool {
        self.common == common
            && self.request.table == asked.table
            && self.request.calls.len() + asked.calls.len() <= limits::PROPOSAL_ITEMS_MAX
            && self.weight + asked.weight <= limits::PROPOSAL_BYTES_MAX
    }

    fn add(&mut self, asked: Asked) {
        self.weight += asked.weight;
        let (calls, slots) = asked.split();
        self.request.calls.extend(calls);
        self.parts.push(slots);
    }
}

/// What the request would wait for; `None` if that is more than one order.
fn common(door: &dyn Door, asked: &Asked) -> Option<Common> {
    let order = |call: &Call| match call.target {
        Target::Key => door.locate(&asked.table, call.command.key()?).map(|(_, order)| order),
        Target::Shard(_) | Target::Table => None,
    };
    let is_write = |command: &Command| command.is_write();
    let (first, rest) = asked.calls.split_first()?;
    let (first_order, write) = (order(first)?, is_write(&first.command));
    let same = |call: &Call| is_write(&call.command) == write && order(call) == Some(first_order);
    rest.iter().all(same).then_some(Common { order: first_order, write, deadline: asked.deadline })
}
