//! The plan for orders whose members agree on changes among themselves: one newcomer for one that goes, and never without a
//! majority, before or after.

use shardbearer_core::ids::RadiantId;
use shardbearer_core::membership::MemberChange;
use shardbearer_core::topology::Order;

use super::plan::{Sight, Step};
use super::{name, word};

impl Sight<'_> {
    /// Seats of the dead and of those who drain go to others; what is missing is filled up.
    pub(super) fn moved_by_agreement(&mut self, order: &Order) -> Option<Step> {
        let id = order.id;
        if order.is_changing() {
            // The herald is at it. Unless the newcomer is lost.
            let lost = order.roster.learners.iter().find(|id| self.is_lost(**id) || self.gives_away(**id))?;
            let why = format!("{} does not come", name(self.topology, *lost));
            return Some(Step { change: MemberChange::Abandon { order: id }, why });
        }
        let dead = order.members.iter().copied().filter(|id| self.is_lost(*id));
        let away = order.members.iter().copied().filter(|id| self.gives_away(*id) && !self.is_lost(*id));
        let going: Vec<RadiantId> = dead.chain(away).collect();
        if !going.is_empty() {
            return going.into_iter().find_map(|radiant| self.replaced(order, radiant));
        }
        if order.members.len() < order.roster.size as usize {
            let add = self.free(order, RadiantId::NONE)?;
            let why = format!("order {id} has {} members of {}", order.members.len(), order.roster.size);
            return self.begin(order, add, RadiantId::NONE, why);
        }
        None
    }

    /// Gives the seat of a member to another; or gives it up, where nobody is free and somebody asked for that.
    fn replaced(&mut self, order: &Order, remove: RadiantId) -> Option<Step> {
        let who = name(self.topology, remove);
        let add = self.free(order, self.successor_of(remove));
        if self.waits_for_successor(order, remove, add) {
            return None;
        }
        if add.is_none() && !self.gives_away(remove) {
            self.blocked(format!("{who} is down, and nobody is free to take its seat in order {}", order.id));
            return None;
        }
        if add.is_none() && self.waits_for_anybody(order, remove) {
            return None;
        }
        let why = match self.is_lost(remove) {
            true => format!("{who} is down"),
            false => format!("{who} is {}", word(self.standing(remove))),
        };
        self.begin(order, add.unwrap_or_default(), remove, why)
    }

    /// Begins a change unless a quorum would be missing before or after it.
    pub(super) fn begin(
        &mut self,
        order: &Order,
        add: RadiantId,
        remove: RadiantId,
        why: String,
    ) -> Option<Step> {
        let mut after: Vec<RadiantId> = order.members.iter().copied().filter(|id| *id != remove).collect();
        after.extend(Some(add).filter(|add| !add.is_none()));
        for (members, when) in [(&order.members, "has"), (&after, "would then have")] {
            let up = members.iter().filter(|id| self.is_up(**id)).count();
            if up <= members.len() / 2 {
                self.blocked(format!(
                    "order {} {when} {up} of {} members up, which is no majority",
                    order.id,
                    members.len()
                ));
                return None;
            }
        }
        Some(Step { change: MemberChange::Begin { order: order.id, add, remove }, why })
    }
}
