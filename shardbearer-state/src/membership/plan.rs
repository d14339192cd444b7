//! What the scherald should do next about members, given what it sees. Pure: the same sight, the same step.
//!
//! One step at a time, the most urgent first: leave out who blocks a chain; take back who has caught up; give the seats of the
//! dead and of those who drain to others; fill up what has too few; spread seats evenly. What cannot be done is said
//! in sentences, and tried again when things have changed. The two kinds of engines have a room each: [`super::lists`] and
//! [`super::agreements`].

use std::collections::BTreeMap;

use shardbearer_core::ids::{OrderId, RadiantId, ShardId};
use shardbearer_core::membership::{MemberChange, Standing};
use shardbearer_core::topology::{Order, Radiant, Topology};

use super::{name, successor};
use crate::placement::rebalance::Load;

/// A radiant must have been up for so long before it gets a seat: one that comes and goes is of no use.
const STEADY_MS: u64 = 1_000;
/// A learner is caught up when it is no further behind: what is left costs its order a moment.
pub(super) const BEHIND_MAX: u64 = 256;

/// How the members of an engine's orders change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Kind {
    /// The members agree on it.
    Agree,
    /// It is decided here.
    Elsewhere,
    /// Not at all.
    #[default]
    Fixed,
}

/// When a radiant was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Seen {
    /// For how long it has been silent.
    pub silent_ms: u64,
    /// For how long it had been heard without a break, if it is not silent.
    pub up_for_ms: u64,
    /// Whether it says that it is about to end.
    pub stopping: bool,
}

/// How far a seat's engine is, as its radiant says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// The engine's term; of those that are told their members, the list's epoch.
    pub term: u64,
    /// What is applied.
    pub applied: u64,
    /// See `EngineStatus::complete`; of a learner, whether it has caught up.
    pub complete: bool,
}

/// Everything that the scherald sees.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Facts {
    /// Radiants.
    pub seen: BTreeMap<RadiantId, Seen>,
    /// Seats.
    pub progress: BTreeMap<(OrderId, RadiantId), Progress>,
    /// Engines by name.
    pub kinds: BTreeMap<String, Kind>,
    /// Silence after which a member is left out of a chain, which waits for it meanwhile.
    pub suspicion_ms: u64,
    /// Silence after which a radiant's seats are given to others.
    pub grace_ms: u64,
    /// What shards hold. Decides nothing; it is told to who asks what would follow.
    pub loads: BTreeMap<ShardId, Load>,
    /// Bytes that are free on the radiants' disks, where that is known.
    pub free_bytes: BTreeMap<RadiantId, u64>,
}

/// A change to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub change: MemberChange,
    /// The reason, a sentence.
    pub why: String,
}

/// What to do, and what cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Plan {
    /// The next step.
    pub step: Option<Step>,
    /// What should be otherwise and cannot be changed now, a sentence each.
    pub blockers: Vec<String>,
}

/// The next step.
pub fn next(topology: &Topology, facts: &Facts) -> Plan {
    let mut sight = Sight { topology, facts, blockers: Vec::new() };
    let mut step = None;
    // Urgent things of all orders come before anything that can wait.
    for look in [Sight::left_out, Sight::taken_back, Sight::moved] {
        step = step.or_else(|| topology.orders.iter().find_map(|order| look(&mut sight, order)));
    }
    let step = step.or_else(|| sight.gone()).or_else(|| sight.spread());
    Plan { step, blockers: sight.blockers }
}

/// What is being looked at.
pub(super) struct Sight<'a> {
    pub(super) topology: &'a Topology,
    facts: &'a Facts,
    blockers: Vec<String>,
}

impl Sight<'_> {
    pub(super) fn kind(&self, order: &Order) -> Kind {
        self.facts.kinds.get(&order.engine).copied().unwrap_or_default()
    }

    pub(super) fn silent_ms(&self, radiant: RadiantId) -> u64 {
        self.facts.seen.get(&radiant).map_or(u64::MAX, |seen| seen.silent_ms)
    }

    pub(super) fn is_up(&self, radiant: RadiantId) -> bool {
        self.silent_ms(radiant) < self.facts.suspicion_ms
    }

    /// Whether it is there to stay.
    pub(super) fn is_staying(&self, radiant: RadiantId) -> bool {
        self.is_up(radiant) && self.facts.seen.get(&radiant).is_some_and(|seen| !seen.stopping)
    }

    pub(super) fn is_lost(&self, radiant: RadiantId) -> bool {
        self.silent_ms(radiant) >= self.facts.grace_ms
    }

    pub(super) fn is_steady(&self, radiant: RadiantId) -> bool {
        self.is_staying(radiant)
            && self.facts.seen.get(&radiant).is_some_and(|seen| seen.up_for_ms >= STEADY_MS)
    }

    pub(super) fn standing(&self, radiant: RadiantId) -> Standing {
        self.topology.radiant(radiant).map_or(Standing::Gone, |radiant| radiant.standing)
    }

    pub(super) fn gives_away(&self, radiant: RadiantId) -> bool {
        match self.standing(radiant) {
            Standing::Active | Standing::Spare => false,
            Standing::Draining { .. } | Standing::Leaving { .. } | Standing::Gone => true,
        }
    }

    pub(super) fn progress(&self, order: &Order, radiant: RadiantId) -> Progress {
        self.facts.progress.get(&(order.id, radiant)).copied().unwrap_or_default()
    }

    pub(super) fn blocked(&mut self, why: String) {
        if !self.blockers.contains(&why) {
            self.blockers.push(why);
        }
    }

    /// How many data orders a radiant has a seat in.
    pub(super) fn load(&self, radiant: RadiantId) -> usize {
        self.topology.orders_of(radiant).filter(|order| !order.id.is_control()).count()
    }

    /// Who could take a seat in the order: the one named if it can, else whoever has the fewest.
    pub(super) fn free(&self, order: &Order, named: RadiantId) -> Option<RadiantId> {
        let fits = |radiant: &&Radiant| {
            !self.gives_away(radiant.id)
                && self.is_steady(radiant.id)
                && order.seats().all(|seat| seat != radiant.id)
        };
        let free: Vec<RadiantId> =
            self.topology.radiants.iter().filter(fits).map(|radiant| radiant.id).collect();
        if free.contains(&named) {
            return Some(named);
        }
        free.into_iter().min_by_key(|id| (self.load(*id), *id))
    }

    /// Whether a seat that nobody can take just now is to be kept for somebody who soon may: who has just started, or was
    /// heard a moment ago. An order that gives a seat up instead survives the loss of one member less.
    pub(super) fn waits_for_anybody(&mut self, order: &Order, radiant: RadiantId) -> bool {
        let fits = |candidate: &&Radiant| {
            !self.gives_away(candidate.id)
                && !self.is_lost(candidate.id)
                && order.seats().all(|seat| seat != candidate.id)
        };
        let Some(candidate) = self.topology.radiants.iter().find(fits) else { return false };
        let (who, to) = (name(self.topology, radiant), name(self.topology, candidate.id));
        self.blocked(format!(
            "{who} keeps its seat in order {} until {to} has been up for a while, or is down for good",
            order.id
        ));
        true
    }

    /// Whether the one named to take a seat cannot do so just now.
    pub(super) fn waits_for_successor(
        &mut self,
        order: &Order,
        radiant: RadiantId,
        free: Option<RadiantId>,
    ) -> bool {
        let named = self.successor_of(radiant);
        let waits = !named.is_none() && free != Some(named) && order.seats().all(|seat| seat != named);
        if waits {
            let (who, to) = (name(self.topology, radiant), name(self.topology, named));
            self.blocked(format!("{who} keeps its seat in order {} until {to} can take it", order.id));
        }
        waits
    }

    pub(super) fn successor_of(&self, radiant: RadiantId) -> RadiantId {
        successor(self.standing(radiant))
    }

    /// Seats of the dead and of those who drain go to others.
    fn moved(&mut self, order: &Order) -> Option<Step> {
        match self.kind(order) {
            Kind::Agree => self.moved_by_agreement(order),
            Kind::Elsewhere => self.moved_by_list(order),
            Kind::Fixed => {
                let to_move = |id: &RadiantId| self.is_lost(*id) || self.gives_away(*id);
                let stuck: Vec<RadiantId> = order.members.iter().copied().filter(to_move).collect();
                for id in stuck {
                    let who = name(self.topology, id);
                    self.blocked(format!(
                        "{who} keeps its seat in order {}: the engine {} does not change members",
                        order.id, order.engine
                    ));
                }
                None
            }
        }
    }

    pub(super) fn why_not(&self, radiant: RadiantId) -> &'static str {
        if self.gives_away(radiant) { super::word(self.standing(radiant)) } else { "down" }
    }

    /// Who leaves and has no seat any more has left.
    fn gone(&self) -> Option<Step> {
        let left = self.topology.radiants.iter().find(|radiant| {
            matches!(radiant.standing, Standing::Leaving { .. })
                && self.topology.orders_of(radiant.id).next().is_none()
        })?;
        let change = MemberChange::Stand { radiant: left.id, standing: Standing::Gone };
        Some(Step { change, why: format!("{} has no seat any more", super::called(&left.name)) })
    }

    /// An active radiant with at least two seats fewer than another takes one of its, of whoever has the most if that can be.
    fn spread(&mut self) -> Option<Step> {
        if self.topology.orders.iter().any(Order::is_changing) {
            return None;
        }
        let active = |radiant: &&Radiant| radiant.standing == Standing::Active && self.is_steady(radiant.id);
        let active: Vec<RadiantId> =
            self.topology.radiants.iter().filter(active).map(|radiant| radiant.id).collect();
        let least = active.iter().copied().min_by_key(|id| (self.load(*id), *id))?;
        let mut givers = active;
        givers.retain(|id| self.load(*id) >= self.load(least) + 2);
        givers.sort_by_key(|id| (std::cmp::Reverse(self.load(*id)), *id));
        let data = || self.topology.orders.iter().filter(|order| !order.id.is_control());
        let (giver, order) = givers.into_iter().find_map(|giver| {
            data().find(|order| self.gives(order, giver, least)).map(|order| (giver, order))
        })?;
        let why = format!("seats are spread evenly: {} has fewer", name(self.topology, least));
        match self.kind(order) {
            Kind::Elsewhere => Some(self.invited(order, least, why)),
            Kind::Agree | Kind::Fixed => self.begin(order, least, giver, why),
        }
    }

    /// Whether a seat of an order can go from one radiant to another for no other reason than that it has fewer.
    fn gives(&self, order: &Order, giver: RadiantId, least: RadiantId) -> bool {
        let able = match self.kind(order) {
            Kind::Agree => true,
            Kind::Elsewhere => self.can_give(order, giver),
            Kind::Fixed => false,
        };
        able && order.members.contains(&giver) && !order.members.contains(&least)
    }
}
