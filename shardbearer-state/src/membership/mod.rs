//! How membership changes: which change may be made, and which should be made next.
//!
//! ```text
//!   who is up, how far everybody is ──▶ plan::next ──▶ MemberChange ──▶ control log ──▶ carry_out ──▶ Topology
//! ```
//!
//! - [`carry_out`] is the law: what no change may do, whoever asks, decided at its place in the control log.
//! - [`plan`] is the policy: what the scherald does next, given what it sees, and why it can do no better.
//! - [`mod@reset`] is for orders that have lost their majority: from whom to go on, and what that may lose. [`system`] is the same
//!   for the control order, which then cannot decide it.
//! - [`ask`] is the operator's side: what a request would lead to, step by step, before anything is done.
//!
//! Two kinds of engines are told apart. Where members agree on changes among themselves, control only says what is wanted
//! ([`MemberChange::Begin`]); the order's herald makes it so, the newcomer first as a learner, and says when it is
//! done. Where they are decided elsewhere, the list in the configuration *is* the membership, and its epoch the fence.
//!
//! One change at a time in each order. What is not here: watching, waiting, telling.

mod agreements;
pub mod ask;
pub mod capacity;
mod lists;
pub mod plan;
pub mod reset;
pub mod system;
#[cfg(test)]
mod tests;
mod what_if;

use shardbearer_core::ids::{Epoch, OrderId, RadiantId};
use shardbearer_core::membership::{MemberChange, Roster, Standing};
use shardbearer_core::topology::{Order, Radiant, Topology};

/// Members and learners that an order may have; more would only make it slower.
const SEATS_MAX: usize = 16;

/// A sentence.
type Refusal = String;

/// The configuration after a change, with what it is in words; or why it is refused.
pub fn carry_out(topology: &Topology, change: &MemberChange) -> Result<(Topology, String), Refusal> {
    let mut next = topology.clone();
    next.epoch = Epoch(topology.epoch.0 + 1);
    let what = match change {
        MemberChange::Begin { order, add, remove } => begin(&mut next, *order, *add, *remove)?,
        MemberChange::Finish { order } => finish(&mut next, *order)?,
        MemberChange::Abandon { order } => abandon(&mut next, *order)?,
        MemberChange::Reset { order, survivor } => reset::begin_anew(&mut next, *order, *survivor)?,
        MemberChange::List { order, members, learners } => list(&mut next, *order, members, learners)?,
        MemberChange::Stand { radiant, standing } => stand(&mut next, *radiant, *standing)?,
    };
    settle_standings(topology, &mut next);
    Ok((next, what))
}

fn begin(next: &mut Topology, id: OrderId, add: RadiantId, remove: RadiantId) -> Result<String, Refusal> {
    let order = known_order(next, id)?;
    if order.is_changing() {
        return Err(format!("order {id} is changing its members already; one change at a time"));
    }
    if add.is_none() && remove.is_none() {
        return Err("nobody is named".into());
    }
    if !add.is_none() {
        if order.members.contains(&add) {
            return Err(format!("{} is a member of order {id} already", name(next, add)));
        }
        may_take_seats(next, add)?;
    }
    if !remove.is_none() && !order.members.contains(&remove) {
        return Err(format!("{} is no member of order {id}", name(next, remove)));
    }
    let wanted = order.members.len() + usize::from(!add.is_none()) - usize::from(!remove.is_none());
    bounded(id, wanted)?;
    let what = match (add.is_none(), remove.is_none()) {
        (false, false) => format!("takes the seat of {} in order {id}", name(next, remove)),
        (false, true) => format!("gets a seat in order {id}"),
        (true, _) => format!("is to leave order {id}"),
    };
    let what = format!("{} {what}", name(next, if add.is_none() { remove } else { add }));
    let one = |radiant: RadiantId| Some(radiant).filter(|radiant| !radiant.is_none()).into_iter().collect();
    let epoch = next.epoch;
    let roster = &mut order_mut(next, id)?.roster;
    decided(roster, epoch);
    (roster.learners, roster.leaving) = (one(add), one(remove));
    roster.size = roster.size.max(u32::try_from(wanted).unwrap_or(u32::MAX));
    Ok(what)
}

fn finish(next: &mut Topology, id: OrderId) -> Result<String, Refusal> {
    let order = known_order(next, id)?;
    if !order.is_changing() {
        return Err(format!("order {id} is not changing its members"));
    }
    let mut members = order.wanted();
    if members.is_empty() {
        return Err(format!("order {id} would have no member"));
    }
    members.sort_unstable();
    // So that leads stay spread: whoever is meant to lead the fewest.
    let meant = |id: RadiantId| next.orders.iter().filter(|order| order.preferred_herald == id).count();
    let heir = members.iter().copied().min_by_key(|member| (meant(*member), *member));
    let what = format!("order {id} consists of {}", names(next, &members));
    let epoch = next.epoch;
    let order = order_mut(next, id)?;
    if !members.contains(&order.preferred_herald) {
        order.preferred_herald = heir.unwrap_or_default();
    }
    order.members = members;
    decided(&mut order.roster, epoch);
    (order.roster.learners, order.roster.leaving) = (Vec::new(), Vec::new());
    Ok(what)
}

fn abandon(next: &mut Topology, id: OrderId) -> Result<String, Refusal> {
    let order = known_order(next, id)?;
    if !order.is_changing() {
        return Err(format!("order {id} is not changing its members"));
    }
    // Who is on the way out may count no more, or count still: only the order knows, and it goes on until that is settled.
    if order.roster.learners.is_empty() {
        return Err(format!("nobody is on the way into order {id}"));
    }
    let what = format!("order {id} stays with {}", names(next, &order.members));
    let epoch = next.epoch;
    let roster = &mut order_mut(next, id)?.roster;
    decided(roster, epoch);
    // Whether it has become a member meanwhile, only the order knows: it keeps its seat until the order is rid of it.
    roster.leaving = std::mem::take(&mut roster.learners);
    Ok(what)
}

fn list(
    next: &mut Topology,
    id: OrderId,
    members: &[RadiantId],
    learners: &[RadiantId],
) -> Result<String, Refusal> {
    let order = known_order(next, id)?;
    bounded(id, members.len())?;
    bounded(id, members.len() + learners.len())?;
    let mut all: Vec<RadiantId> = members.iter().chain(learners).copied().collect();
    all.sort_unstable();
    all.dedup();
    if all.len() < members.len() + learners.len() {
        return Err(format!("somebody stands in the list of order {id} twice"));
    }
    let configuration = order.configuration();
    let (before, behind) = (&configuration.members, &configuration.learners);
    if (before.as_slice(), behind.as_slice()) == (members, learners) {
        return Err(format!("order {id} has this list already"));
    }
    if !members.first().is_some_and(|head| before.contains(head)) {
        return Err(format!("the first of the list of order {id} has to be a member now"));
    }
    for member in members {
        if !before.contains(member) && !behind.contains(member) {
            return Err(format!("{} has to catch up with order {id} first", name(next, *member)));
        }
    }
    for learner in learners {
        if !before.contains(learner) && !behind.contains(learner) {
            may_take_seats(next, *learner)?;
        }
    }
    let catching_up = match learners {
        [] => String::new(),
        learners => format!("; {} to catch up", names(next, learners)),
    };
    let what = format!("order {id} consists of {}{catching_up}", names(next, members));
    let epoch = next.epoch;
    let order = order_mut(next, id)?;
    decided(&mut order.roster, epoch);
    order.members = members.to_vec();
    order.roster.learners = learners.to_vec();
    order.preferred_herald = members.first().copied().unwrap_or_default();
    Ok(what)
}

fn stand(next: &mut Topology, id: RadiantId, standing: Standing) -> Result<String, Refusal> {
    let radiant = next.radiant(id).ok_or_else(|| format!("there is no radiant {id}"))?;
    if radiant.standing == Standing::Gone {
        return Err(format!("{} has left the cluster", called(&radiant.name)));
    }
    if radiant.standing == standing {
        return Err(format!("{} is {} already", called(&radiant.name), word(standing)));
    }
    let (name, to) = (radiant.name.clone(), successor(standing));
    if standing == Standing::Gone && next.orders_of(id).next().is_some() {
        return Err(format!("{} has seats still", called(&name)));
    }
    if to == id {
        return Err(format!("{} cannot take its own seats", called(&name)));
    }
    if !to.is_none() {
        may_take_seats(next, to)?;
    }
    if let Some(radiant) = next.radiants.iter_mut().find(|radiant| radiant.id == id) {
        radiant.standing = standing;
    }
    let to = if to.is_none() { String::new() } else { format!(", its seats to {}", self::name(next, to)) };
    Ok(format!("radiant {name} is {}{to}", word(standing)))
}

/// Who got a first seat takes part from now on; who lost the last one is a spare.
pub(crate) fn settle_standings(before: &Topology, next: &mut Topology) {
    let seated = |topology: &Topology, id| topology.orders_of(id).next().is_some();
    for index in 0..next.radiants.len() {
        let Some(Radiant { id, standing, .. }) = next.radiants.get(index).cloned() else { return };
        let standing = match (standing, seated(before, id), seated(next, id)) {
            (Standing::Spare, _, true) => Standing::Active,
            (Standing::Active, true, false) => Standing::Spare,
            _ => continue,
        };
        if let Some(radiant) = next.radiants.get_mut(index) {
            radiant.standing = standing;
        }
    }
}

fn decided(roster: &mut Roster, epoch: Epoch) {
    // The founders' list has epoch 1 for everybody, also where it was written down before that was said.
    roster.previous = roster.epoch.max(Epoch(1));
    roster.epoch = epoch;
}

fn bounded(id: OrderId, seats: usize) -> Result<(), Refusal> {
    match seats {
        0 => Err(format!("order {id} would have no member")),
        1..=SEATS_MAX => Ok(()),
        more => Err(format!("order {id} would have {more} seats; {SEATS_MAX} are allowed")),
    }
}

fn known_order(topology: &Topology, id: OrderId) -> Result<&Order, Refusal> {
    topology.order(id).ok_or_else(|| format!("there is no order {id}"))
}

fn order_mut(topology: &mut Topology, id: OrderId) -> Result<&mut Order, Refusal> {
    let found = topology.orders.iter_mut().find(|order| order.id == id);
    found.ok_or_else(|| format!("there is no order {id}"))
}

fn may_take_seats(topology: &Topology, id: RadiantId) -> Result<(), Refusal> {
    let radiant = topology.radiant(id).ok_or_else(|| format!("there is no radiant {id}"))?;
    match radiant.standing {
        Standing::Active | Standing::Spare => Ok(()),
        standing @ (Standing::Draining { .. } | Standing::Leaving { .. } | Standing::Gone) => {
            Err(format!("{} is {} and takes no seats", called(&radiant.name), word(standing)))
        }
    }
}

/// Who is to have a radiant's seats, if somebody is named.
fn successor(standing: Standing) -> RadiantId {
    match standing {
        Standing::Draining { to } | Standing::Leaving { to } => to,
        Standing::Active | Standing::Spare | Standing::Gone => RadiantId::NONE,
    }
}

/// A radiant by its name in a sentence: what is called a radiant already is not called so twice.
pub fn called(name: &str) -> String {
    if name.starts_with("radiant") { name.to_owned() } else { format!("radiant {name}") }
}

/// The same in a sentence that the history keeps, where every program writes the same.
pub fn called_once(sentence: &str) -> String {
    sentence.replace("radiant radiant", "radiant")
}

/// A standing in words.
pub fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Active => "active",
        Standing::Spare => "a spare",
        Standing::Draining { .. } => "draining",
        Standing::Leaving { .. } => "leaving",
        Standing::Gone => "gone",
    }
}

fn name(topology: &Topology, id: RadiantId) -> String {
    topology
        .radiant(id)
        .map_or_else(|| format!("radiant {id}"), |radiant| format!("radiant {}", radiant.name))
}

fn names(topology: &Topology, ids: &[RadiantId]) -> String {
    let known =
        |id: &RadiantId| topology.radiant(*id).map_or_else(|| id.to_string(), |known| known.name.clone());
    ids.iter().map(known).collect::<Vec<_>>().join(", ")
}
