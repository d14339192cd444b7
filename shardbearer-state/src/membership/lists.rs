//! The plan for orders whose members are decided here: chains. A member that is silent is left out at once, because the chain
//! stands still until then, and stays a learner; once it is back and has caught up it becomes the tail.
//!
//! What must not happen is a list that nobody may lead: the head has to hold all that was acknowledged, and only a
//! member itself knows that it does. So a list is left only through a member that said so, in this very list.

use shardbearer_core::ids::RadiantId;
use shardbearer_core::membership::MemberChange;
use shardbearer_core::topology::Order;

use super::plan::{BEHIND_MAX, Kind, Sight, Step};
use super::{name, names};

impl Sight<'_> {
    /// Whether a member of a chain is known to have all that was acknowledged before the present list.
    fn is_complete(&self, order: &Order, member: RadiantId) -> bool {
        let progress = self.progress(order, member);
        progress.complete && progress.term == order.configuration().epoch.0
    }

    /// Whether all members of a chain are up and have taken their list over. One list after the other: who misses one
    /// cannot know whether it was left out, and may not lead any more.
    fn is_settled(&self, order: &Order) -> bool {
        let members = order.configuration().members;
        members.into_iter().all(|member| self.is_up(member) && self.is_complete(order, member))
    }

    /// Urgent: a chain stands still while a member is silent. Whoever is about to end is left out before, if more than half of
    /// the order's members stay, as they do not where a cluster is stopped as a whole, and all of them hold what was acknowledged.
    pub(super) fn left_out(&mut self, order: &Order) -> Option<Step> {
        if self.kind(order) != Kind::Elsewhere {
            return None;
        }
        let now = order.configuration();
        let apart = |stays: &dyn Fn(RadiantId) -> bool| -> (Vec<RadiantId>, Vec<RadiantId>) {
            now.members.iter().copied().partition(|id| stays(*id))
        };
        let (mut up, mut silent) = apart(&|id| self.is_up(id));
        let mut state = "silent";
        if silent.is_empty() {
            (up, silent) = apart(&|id| self.is_staying(id));
            state = "about to end";
            let enough = 2 * up.len() > order.roster.size as usize;
            if !enough || !up.iter().all(|id| self.is_complete(order, *id)) {
                return None;
            }
        }
        let first = *silent.first()?;
        let Some(members) = self.headed(order, &up) else {
            let lost = names(self.topology, &silent);
            self.blocked(format!(
                "order {} waits for {lost}: no other member is known to hold all that was acknowledged",
                order.id
            ));
            return None;
        };
        let learners = now.learners.iter().chain(&silent).copied().collect();
        let why = format!("{} is {state}", name(self.topology, first));
        Some(Step { change: MemberChange::List { order: order.id, members, learners }, why })
    }

    /// The members with one in front that may lead; none if nobody may.
    fn headed(&self, order: &Order, members: &[RadiantId]) -> Option<Vec<RadiantId>> {
        let head = members.iter().copied().find(|member| self.is_complete(order, *member))?;
        let others = members.iter().copied().filter(|member| *member != head);
        Some(std::iter::once(head).chain(others).collect())
    }

    /// A chain's learner that has caught up becomes its tail.
    pub(super) fn taken_back(&mut self, order: &Order) -> Option<Step> {
        if self.kind(order) != Kind::Elsewhere {
            return None;
        }
        let now = order.configuration();
        if !self.is_settled(order) {
            return None;
        }
        let head = self.progress(order, *now.members.first()?).applied;
        let caught_up = |learner: &&RadiantId| {
            let progress = self.progress(order, **learner);
            !self.gives_away(**learner)
                && self.is_steady(**learner)
                && progress.term == now.epoch.0
                && progress.applied + BEHIND_MAX >= head
                // Whose log does not go on as the others' does needs all the data, however few entries it lacks, and the chain
                // would wait for that.
                && progress.complete
        };
        let learner = *now.learners.iter().find(caught_up)?;
        let members = now.members.iter().copied().chain([learner]).collect();
        let learners = now.learners.iter().copied().filter(|id| *id != learner).collect();
        let why = format!("{} has caught up", name(self.topology, learner));
        Some(Step { change: MemberChange::List { order: order.id, members, learners }, why })
    }

    /// Whether a member could be the one of too many that goes, so that its seat is another's: not the head, which leads, and
    /// nobody else of the order has more seats.
    pub(super) fn can_give(&self, order: &Order, giver: RadiantId) -> bool {
        let rest = || order.members.iter().skip(1);
        self.is_settled(order)
            && rest().any(|member| *member == giver)
            && rest().all(|member| self.load(*member) <= self.load(giver))
    }

    /// Somebody is to catch up with a chain that is whole. It becomes the tail, and then one of too many goes.
    pub(super) fn invited(&self, order: &Order, learner: RadiantId, why: String) -> Step {
        let now = order.configuration();
        let learners = now.learners.iter().copied().chain([learner]).collect();
        Step { change: MemberChange::List { order: order.id, members: now.members, learners }, why }
    }

    /// Of too many members the one with the most seats, but not the head: it leads.
    fn surplus(&self, order: &Order, members: &[RadiantId]) -> Option<RadiantId> {
        let too_many = members.len() > order.roster.size as usize;
        let rest = members.iter().copied().skip(1).filter(|_| too_many);
        rest.max_by_key(|id| self.load(*id))
    }

    /// Seats of the dead and of those who drain go to others, by way of learners. A seat too many is given up.
    pub(super) fn moved_by_list(&mut self, order: &Order) -> Option<Step> {
        let id = order.id;
        let now = order.configuration();
        let list = |members, learners, why| {
            Some(Step { change: MemberChange::List { order: id, members, learners }, why })
        };
        let without = |ids: &[RadiantId], one: RadiantId| -> Vec<RadiantId> {
            ids.iter().copied().filter(|id| *id != one).collect()
        };
        if !self.is_settled(order) {
            return None;
        }
        // A learner counts for nothing, so it is simply replaced.
        let hopeless = now.learners.iter().copied().find(|id| self.is_lost(*id) || self.gives_away(*id));
        if let Some(learner) = hopeless {
            let who = name(self.topology, learner);
            // Who was only to have a seat of another's is not missed.
            let missed = now.members.len() < order.roster.size as usize;
            let free = if missed { self.free(order, self.successor_of(learner)) } else { None };
            if missed && free.is_none() && !self.gives_away(learner) {
                self.blocked(format!("{who} is down, and nobody is free to take its seat in order {id}"));
                return None;
            }
            let learners = without(&now.learners, learner).into_iter().chain(free).collect();
            return list(now.members, learners, format!("{who} is {}", self.why_not(learner)));
        }
        let away = now.members.iter().copied().find(|id| self.gives_away(*id));
        if let Some(away) = away {
            let free = self.free(order, self.successor_of(away));
            if self.waits_for_successor(order, away, free) {
                return None;
            }
        }
        let staying = order.seats().filter(|id| !self.gives_away(*id)).count();
        if staying < order.roster.size as usize
            && let Some(free) = self.free(order, away.map_or(RadiantId::NONE, |id| self.successor_of(id)))
        {
            let learners = now.learners.iter().copied().chain([free]).collect();
            let why = format!("order {id} has {staying} members of {} that stay", order.roster.size);
            return list(now.members, learners, why);
        }
        if !now.learners.is_empty() {
            return None;
        }
        if let Some(away) = away.filter(|_| staying < order.roster.size as usize)
            && self.waits_for_anybody(order, away)
        {
            return None;
        }
        let Some(away) = away else {
            // Somebody was to go, another had come for that, and the first stays after all.
            let surplus = self.surplus(order, &now.members)?;
            let why = format!("order {id} has {} members of {}", now.members.len(), order.roster.size);
            return list(without(&now.members, surplus), now.learners, why);
        };
        let who = name(self.topology, away);
        let Some(members) = self.headed(order, &without(&now.members, away)) else {
            self.blocked(format!(
                "{who} is the last member of order {id}, and nobody is free to take its seat"
            ));
            return None;
        };
        list(members, now.learners, format!("{who} is {}", self.why_not(away)))
    }
}
