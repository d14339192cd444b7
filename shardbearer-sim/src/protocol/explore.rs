//! Every way in which a few things can happen: all orders of delivery, all points of a crash, within a budget.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use shardbearer_core::ids::RadiantId;
use shardbearer_core::protocol::{Configuration, Protocol};

use super::{Event, Net};
use crate::conformance::Broken;

/// How often each kind of thing may happen on one way. Deliveries and writes are bounded by what there is of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Budget {
    /// Proposals, at the members given.
    pub proposals: Vec<RadiantId>,
    /// Reads, at the members given.
    pub reads: Vec<RadiantId>,
    /// Ticks, at the members given.
    pub ticks: Vec<RadiantId>,
    /// Crashes and power cuts, at the members given; each comes back at once.
    pub crashes: Vec<RadiantId>,
    /// Messages lost.
    pub losses: usize,
    /// Configurations, told in this order.
    pub configurations: Vec<(RadiantId, Configuration)>,
}

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// Whether that was all.
    pub complete: bool,
}

/// Goes every way from `net`, up to `states_max` different states. An error comes with the way to it.
pub fn explore<P: Protocol + Clone + fmt::Debug>(
    net: &Net<P>,
    budget: &Budget,
    states_max: usize,
) -> Result<Explored, Broken> {
    let mut seen = BTreeSet::new();
    let mut open = vec![(net.clone(), budget.clone(), Vec::<Event>::new())];
    while let Some((net, budget, way)) = open.pop() {
        let mut hasher = DefaultHasher::new();
        identity(&net).hash(&mut hasher);
        budget.hash(&mut hasher);
        if !seen.insert(hasher.finish()) {
            continue;
        }
        if seen.len() >= states_max {
            return Ok(Explored { states: seen.len(), complete: false });
        }
        for (events, left) in choices(&net, &budget) {
            let mut next = net.clone();
            let mut way = way.clone();
            for event in events {
                way.push(event.clone());
                next.happen(event).map_err(|broken| Broken(format!("{broken}\nthe way there: {way:?}")))?;
            }
            open.push((next, left, way));
        }
    }
    Ok(Explored { states: seen.len(), complete: true })
}

/// All that decides what can happen next. What is under way may arrive in any order, so the order in which it was sent does
/// not count.
fn identity<P: Protocol + Clone + fmt::Debug>(net: &Net<P>) -> (Vec<String>, String) {
    let mut flights: Vec<String> = net.flights.iter().map(|flight| format!("{flight:?}")).collect();
    flights.sort_unstable();
    (flights, net.but_for_flights())
}

fn choices<P: Protocol + Clone + fmt::Debug>(net: &Net<P>, budget: &Budget) -> Vec<(Vec<Event>, Budget)> {
    let mut choices = Vec::new();
    for at in 0..net.flights.len() {
        // Two of the same are one choice.
        if net
            .flights
            .get(at)
            .is_some_and(|one| net.flights.iter().position(|other| other == one) != Some(at))
        {
            continue;
        }
        choices.push((vec![Event::Deliver(at)], budget.clone()));
        if budget.losses > 0 {
            choices.push((vec![Event::Lose(at)], Budget { losses: budget.losses - 1, ..budget.clone() }));
        }
    }
    for (id, member) in &net.members {
        if member.unwritten() > 0 {
            choices.push((vec![Event::Persist(*id)], budget.clone()));
        }
    }
    let mut left = budget.clone();
    if let Some(id) = left.proposals.pop() {
        choices.push((vec![Event::Propose(id)], left));
    }
    let mut left = budget.clone();
    if let Some(id) = left.reads.pop() {
        choices.push((vec![Event::Read(id)], left));
    }
    let mut left = budget.clone();
    if let Some(id) = left.ticks.pop() {
        choices.push((vec![Event::Tick(id)], left));
    }
    let mut left = budget.clone();
    if let Some(id) = left.crashes.pop() {
        choices.push((vec![Event::Crash(id), Event::Restart(id)], left.clone()));
        choices.push((vec![Event::PowerCut(id), Event::Restart(id)], left));
    }
    let mut left = budget.clone();
    if !left.configurations.is_empty() {
        let (id, configuration) = left.configurations.remove(0);
        choices.push((vec![Event::Configure(id, configuration)], left));
    }
    choices
}
