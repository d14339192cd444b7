//! Every way in which the members of an order that agrees on them can change: whatever anybody asks for comes at any moment,
//! and its herald has the members agree, and says so, when it gets to it.
//!
//! What must hold in every state: whoever counts for the order has a seat, so that its data are kept; from one list that
//! counts to the next one comes at most and one goes; and once all are left to the plan it comes to rest, with the members
//! of the configuration.

use std::collections::{BTreeSet, HashSet};

use super::*;

/// What is explored, or what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Sound,
    /// The control order takes a "done" that was said on an epoch that is over.
    TakesOldDecisions,
    /// Who is abandoned loses its seat at once.
    ForgetsTheAbandoned,
}

#[derive(Clone)]
struct State {
    topology: Topology,
    /// Who counts, as the members themselves agreed.
    counted: BTreeSet<RadiantId>,
    /// Whether a herald has once said that its members agreed.
    said: bool,
}

const ORDER: OrderId = OrderId(2);

impl State {
    fn order(&self) -> &Order {
        self.topology.order(ORDER).expect("it is there")
    }

    /// By what decides what can happen next.
    fn key(&self) -> String {
        let order = self.order();
        let standings: Vec<_> = self.topology.radiants.iter().map(|radiant| radiant.standing).collect();
        let Roster { learners, leaving, size, .. } = &order.roster;
        format!(
            "{:?}{learners:?}{leaving:?}{size}{standings:?}{:?}{}",
            order.members, self.counted, self.said
        )
    }

    fn check(&self) -> Result<(), String> {
        let seats: BTreeSet<_> = self.order().seats().collect();
        match self.counted.is_subset(&seats) {
            true => Ok(()),
            false => Err(format!("{:?} count and {seats:?} have seats", self.counted)),
        }
    }

    fn next(&self, how: How) -> Result<Vec<State>, String> {
        let wanted: BTreeSet<_> = self.order().wanted().into_iter().collect();
        let agreed = wanted == self.counted && self.order().is_changing();
        let mut all = Vec::new();
        for change in asked() {
            // Its herald alone says so, of the configuration that it sees.
            let told = agreed || (how == How::TakesOldDecisions && self.said);
            if matches!(change, MemberChange::Finish { .. }) && !told {
                continue;
            }
            let Ok((mut topology, _)) = carry_out(&self.topology, &change) else { continue };
            if how == How::ForgetsTheAbandoned && matches!(change, MemberChange::Abandon { .. }) {
                let order = topology.orders.iter_mut().find(|order| order.id == ORDER).expect("it is there");
                order.roster.leaving.clear();
            }
            all.push(State { topology, ..self.clone() });
        }
        if self.order().is_changing() {
            let come = wanted.difference(&self.counted).count();
            let gone = self.counted.difference(&wanted).count();
            if come > 1 || gone > 1 {
                return Err(format!("{:?} become {wanted:?} at once", self.counted));
            }
            all.push(State { counted: wanted, said: true, ..self.clone() });
        }
        Ok(all)
    }

    /// Leaves everything to the plan.
    fn rests(&self) -> Result<(), String> {
        let mut world = World::new(3, 1, "raft", 1);
        world.topology = self.topology.clone();
        world.heralds();
        let done = world.rest();
        let order = world.topology.order(ORDER).expect("it is there");
        match order.is_changing() {
            true => Err(format!("it does not come to rest: {done:?}")),
            false => Ok(()),
        }
    }
}

/// Whatever may be asked for: any step of the order, and another part for the first founder and for the spare.
fn asked() -> Vec<MemberChange> {
    let anybody = || (0..=4).map(RadiantId);
    let steps = anybody().flat_map(|add| anybody().map(move |remove| (add, remove)));
    let mut all: Vec<_> =
        steps.map(|(add, remove)| MemberChange::Begin { order: ORDER, add, remove }).collect();
    all.extend([MemberChange::Finish { order: ORDER }, MemberChange::Abandon { order: ORDER }]);
    for radiant in [RadiantId(1), RadiantId(4)] {
        let to = RadiantId::NONE;
        let parts = [Standing::Active, Standing::Draining { to }, Standing::Leaving { to }, Standing::Gone];
        all.extend(parts.map(|standing| MemberChange::Stand { radiant, standing }));
    }
    all
}

/// How many states there are; or after how many one is bad, and why.
fn explore(how: How) -> Result<usize, (usize, String)> {
    let topology = World::new(3, 1, "raft", 1).topology;
    let counted = topology.order(ORDER).expect("it is there").members.iter().copied().collect();
    let first = State { topology, counted, said: false };
    let mut seen = HashSet::from([first.key()]);
    let mut open = vec![first];
    while let Some(state) = open.pop() {
        let looked = state.check().and_then(|()| state.next(how));
        for next in looked.map_err(|why| (seen.len(), why))? {
            if seen.insert(next.key()) {
                // The ways of neighbours meet soon.
                if how == How::Sound && seen.len() % 16 == 0 {
                    next.rests().map_err(|why| (seen.len(), why))?;
                }
                open.push(next);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn whoever_counts_has_a_seat_in_every_interleaving_of_changes() {
    let states = explore(How::Sound).unwrap_or_else(|(after, why)| panic!("after {after} states: {why}"));
    println!("members that agree, 3 of 4 radiants: {states} states");
    assert!(states > 1_000, "{states} states");
}

#[test]
fn broken_doubles_are_caught() {
    for how in [How::TakesOldDecisions, How::ForgetsTheAbandoned] {
        let (after, why) = explore(how).expect_err("it breaks a promise");
        println!("{how:?}: caught after {after} states: {why}");
        assert!(why.contains("have seats"), "{how:?}: {why}");
    }
}
