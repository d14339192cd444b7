//! What the scherald should do next about members, given what it sees. Pure: the same sight, the same step.
//!
//! One step at a time, the most urgent first: leave out who blocks a chain; take back who has caught up; give the seats of the
//! dead and of those who drain to others; fill up what has too few; spread seats evenly. What cannot be done is said
//! in sentences, and tried again when things have changed.

use std::collections::BTreeMap;

use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::membership::{MemberChange, Standing};
use shardbearer_core::topology::{Order, Radiant, Topology};

use super::{name, successor};

/// A radiant must have been up for so long before it gets a seat: one that comes and goes is of no use.
const STEADY_MS: u64 = 1_000;
/// A learner is caught up when it is no further behind: what is left costs its order a moment.
const BEHIND_MAX: u64 = 256;

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
}

/// How far a seat's engine is, as its radiant says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// The engine's term; of those that are told their members, the list's epoch.
    pub term: u64,
    /// What is applied.
    pub applied: u64,
    /// See `EngineStatus::complete`.
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

struct Sight<'a> {
    topology: &'a Topology,
    facts: &'a Facts,
    blockers: Vec<String>,
}

impl Sight<'_> {
    fn kind(&self, order: &Order) -> Kind {
        self.facts.kinds.get(&order.engine).copied().unwrap_or_default()
    }

    fn silent_ms(&self, radiant: RadiantId) -> u64 {
        self.facts.seen.get(&radiant).map_or(u64::MAX, |seen| seen.silent_ms)
    }

    fn is_up(&self, radiant: RadiantId) -> bool {
        self.silent_ms(radiant) < self.facts.suspicion_ms
    }

    fn is_lost(&self, radiant: RadiantId) -> bool {
        self.silent_ms(radiant) >= self.facts.grace_ms
    }

    fn is_steady(&self, radiant: RadiantId) -> bool {
        self.is_up(radiant) && self.facts.seen.get(&radiant).is_some_and(|seen| seen.up_for_ms >= STEADY_MS)
    }

    fn standing(&self, radiant: RadiantId) -> Standing {
        self.topology.radiant(radiant).map_or(Standing::Gone, |radiant| radiant.standing)
    }

    fn gives_away(&self, radiant: RadiantId) -> bool {
        match self.standing(radiant) {
            Standing::Active | Standing::Spare => false,
            Standing::Draining { .. } | Standing::Leaving { .. } | Standing::Gone => true,
        }
    }

    fn progress(&self, order: &Order, radiant: RadiantId) -> Progress {
        self.facts.progress.get(&(order.id, radiant)).copied().unwrap_or_default()
    }

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

    fn blocked(&mut self, why: String) {
        if !self.blockers.contains(&why) {
            self.blockers.push(why);
        }
    }

    /// How many data orders a radiant has a seat in.
    fn load(&self, radiant: RadiantId) -> usize {
        self.topology.orders_of(radiant).filter(|order| !order.id.is_control()).count()
    }

    /// Who could take a seat in the order: the one named if it can, else whoever has the fewest.
    fn free(&self, order: &Order, named: RadiantId) -> Option<RadiantId> {
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

    /// Whether the one named to take a seat cannot do so just now.
    fn waits_for_successor(&mut self, order: &Order, radiant: RadiantId, free: Option<RadiantId>) -> bool {
        let named = self.successor_of(radiant);
        let waits = !named.is_none() && free != Some(named) && order.seats().all(|seat| seat != named);
        if waits {
            let (who, to) = (name(self.topology, radiant), name(self.topology, named));
            self.blocked(format!("{who} keeps its seat in order {} until {to} can take it", order.id));
        }
        waits
    }

    fn successor_of(&self, radiant: RadiantId) -> RadiantId {
        successor(self.standing(radiant))
    }

    /// Urgent: a chain stands still while a member is silent.
    fn left_out(&mut self, order: &Order) -> Option<Step> {
        if self.kind(order) != Kind::Elsewhere {
            return None;
        }
        let now = order.configuration();
        let silent: Vec<RadiantId> = now.members.iter().copied().filter(|id| !self.is_up(*id)).collect();
        let first = *silent.first()?;
        let up: Vec<RadiantId> = now.members.iter().copied().filter(|id| self.is_up(*id)).collect();
        let Some(members) = self.headed(order, &up) else {
            let lost = super::names(self.topology, &silent);
            self.blocked(format!(
                "order {} waits for {lost}: no other member is known to hold all that was acknowledged",
                order.id
            ));
            return None;
        };
        let learners = now.learners.iter().chain(&silent).copied().collect();
        let why = format!("{} is silent", name(self.topology, first));
        Some(Step { change: MemberChange::List { order: order.id, members, learners }, why })
    }

    /// The members with one in front that may lead; none if nobody may.
    fn headed(&self, order: &Order, members: &[RadiantId]) -> Option<Vec<RadiantId>> {
        let head = members.iter().copied().find(|member| self.is_complete(order, *member))?;
        let others = members.iter().copied().filter(|member| *member != head);
        Some(std::iter::once(head).chain(others).collect())
    }

    /// A chain's learner that has caught up becomes its tail.
    fn taken_back(&mut self, order: &Order) -> Option<Step> {
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
        };
        let learner = *now.learners.iter().find(caught_up)?;
        let members = now.members.iter().copied().chain([learner]).collect();
        let learners = now.learners.iter().copied().filter(|id| *id != learner).collect();
        let why = format!("{} has caught up", name(self.topology, learner));
        Some(Step { change: MemberChange::List { order: order.id, members, learners }, why })
    }

    /// Seats of the dead and of those who drain go to others; what is missing is filled up.
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

    fn moved_by_agreement(&mut self, order: &Order) -> Option<Step> {
        let id = order.id;
        if order.is_changing() {
            // The herald is at it. Unless the newcomer is lost.
            let lost = order.roster.learners.iter().find(|id| self.is_lost(**id) || self.gives_away(**id))?;
            let why = format!("{} does not come", name(self.topology, *lost));
            return Some(Step { change: MemberChange::Abandon { order: id }, why });
        }
        let dead = order.members.iter().copied().find(|id| self.is_lost(*id));
        let away = order.members.iter().copied().find(|id| self.gives_away(*id));
        if let Some(remove) = dead.or(away) {
            let who = name(self.topology, remove);
            let add = self.free(order, self.successor_of(remove));
            if self.waits_for_successor(order, remove, add) {
                return None;
            }
            // Without anybody to take it the seat is given up only if somebody asked for that.
            if add.is_none() && !self.gives_away(remove) {
                self.blocked(format!("{who} is down, and nobody is free to take its seat in order {id}"));
                return None;
            }
            let why = match dead {
                Some(_) => format!("{who} is down"),
                None => format!("{who} is {}", super::word(self.standing(remove))),
            };
            return self.begin(order, add.unwrap_or_default(), remove, why);
        }
        if order.members.len() < order.roster.size as usize {
            let add = self.free(order, RadiantId::NONE)?;
            let why = format!("order {id} has {} members of {}", order.members.len(), order.roster.size);
            return self.begin(order, add, RadiantId::NONE, why);
        }
        None
    }

    /// Begins a change unless a quorum would be missing before or after it.
    fn begin(&mut self, order: &Order, add: RadiantId, remove: RadiantId, why: String) -> Option<Step> {
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

    fn moved_by_list(&mut self, order: &Order) -> Option<Step> {
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
            let free = self.free(order, self.successor_of(learner));
            if free.is_none() && !self.gives_away(learner) {
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
        let away = away.filter(|_| now.learners.is_empty())?;
        let who = name(self.topology, away);
        let Some(members) = self.headed(order, &without(&now.members, away)) else {
            self.blocked(format!(
                "{who} is the last member of order {id}, and nobody is free to take its seat"
            ));
            return None;
        };
        list(members, now.learners, format!("{who} is {}", self.why_not(away)))
    }

    fn why_not(&self, radiant: RadiantId) -> &'static str {
        if self.gives_away(radiant) { super::word(self.standing(radiant)) } else { "down" }
    }

    /// Who leaves and has no seat any more has left.
    fn gone(&self) -> Option<Step> {
        let left = self.topology.radiants.iter().find(|radiant| {
            matches!(radiant.standing, Standing::Leaving { .. })
                && self.topology.orders_of(radiant.id).next().is_none()
        })?;
        let change = MemberChange::Stand { radiant: left.id, standing: Standing::Gone };
        Some(Step { change, why: format!("radiant {} has no seat any more", left.name) })
    }

    /// An active radiant with at least two seats fewer than another takes one of its.
    fn spread(&mut self) -> Option<Step> {
        if self.topology.orders.iter().any(Order::is_changing) {
            return None;
        }
        let active = |radiant: &&Radiant| radiant.standing == Standing::Active && self.is_steady(radiant.id);
        let active: Vec<RadiantId> =
            self.topology.radiants.iter().filter(active).map(|radiant| radiant.id).collect();
        let least = active.iter().copied().min_by_key(|id| (self.load(*id), *id))?;
        let most = active.iter().copied().max_by_key(|id| (self.load(*id), std::cmp::Reverse(*id)))?;
        if self.load(most) < self.load(least) + 2 {
            return None;
        }
        let order = self.topology.orders.iter().find(|order| {
            !order.id.is_control()
                && self.kind(order) == Kind::Agree
                && order.members.contains(&most)
                && !order.members.contains(&least)
        })?;
        let why = format!("seats are spread evenly: {} has fewer", name(self.topology, least));
        self.begin(order, least, most, why)
    }
}
