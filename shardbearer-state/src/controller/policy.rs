//! How shards are to be spread over the orders, and which orders there are: what each change makes of a configuration.
//! Operators are shown the same before it is done.

use shardbearer_core::ids::{Epoch, OrderId, RadiantId, ShardId};
use shardbearer_core::membership::{Roster, Standing};
use shardbearer_core::rebalancing::{Mode, RebalanceChange, WEIGHT_DEFAULT, WEIGHT_MAX};
use shardbearer_core::topology::{Order, Topology};

use crate::membership;

/// Members of a new order at most.
const MEMBERS_MAX: usize = 16;

/// A sentence.
type Refusal = String;

/// The configuration after a change, still of the same epoch, with what it is in words; or why it is refused. A change
/// that is so already makes no difference. Migrations are not its business.
pub fn carry_out(topology: &Topology, change: &RebalanceChange) -> Result<(Topology, String), Refusal> {
    let mut next = topology.clone();
    let what = match change {
        RebalanceChange::Mode(mode) => {
            next.policy.mode = *mode;
            if *mode == Mode::Off {
                next.policy.running = None;
            }
            format!("rebalancing is {}", words(*mode))
        }
        RebalanceChange::Run(how) => run(&mut next, *how)?,
        RebalanceChange::Pause(paused) => {
            next.policy.paused = *paused;
            format!("rebalancing {}", if *paused { "is paused" } else { "goes on" })
        }
        RebalanceChange::Pin { shard, to } => pin(&mut next, *shard, *to)?,
        RebalanceChange::Weight { order, weight } => weigh(&mut next, *order, *weight)?,
        RebalanceChange::Create { engine, members } => create(&mut next, engine, members)?,
        RebalanceChange::Remove { order, remove } => remove_later(&mut next, *order, *remove)?,
        RebalanceChange::Removed { order } => remove_now(&mut next, *order)?,
        RebalanceChange::Move { .. } | RebalanceChange::Measured { .. } => {
            return Err("that is a matter of migrations".into());
        }
    };
    Ok((next, what))
}

fn words(mode: Mode) -> &'static str {
    match mode {
        Mode::Off => "off",
        Mode::Manual => "manual",
        Mode::Count => "automatic, by the number of shards",
        Mode::Load => "automatic, by load",
    }
}

fn run(next: &mut Topology, how: Option<Mode>) -> Result<String, Refusal> {
    let what = match how {
        Some(_) if next.policy.mode == Mode::Off => {
            return Err("rebalancing is off; `rebalance mode manual` allows it".into());
        }
        Some(mode) if !mode.is_automatic() => return Err("shards are spread by count or by load".into()),
        Some(mode) => format!("shards are being spread by {}", mode.name()),
        None => "shards are not being spread any more".into(),
    };
    next.policy.running = how;
    Ok(what)
}

fn pin(next: &mut Topology, shard: ShardId, to: OrderId) -> Result<String, Refusal> {
    if !next.tables.iter().flat_map(|table| &table.shards).any(|one| one.id == shard) {
        return Err(format!("there is no shard {shard}"));
    }
    if to.is_none() {
        next.policy.pins.remove(&shard);
        return Ok(format!("shard {shard} may be anywhere"));
    }
    data_order(next, to)?;
    if next.policy.removing.contains(&to) {
        return Err(format!("order {to} is being removed"));
    }
    next.policy.pins.insert(shard, to);
    Ok(format!("shard {shard} is pinned to order {to}"))
}

fn weigh(next: &mut Topology, order: OrderId, weight: u32) -> Result<String, Refusal> {
    data_order(next, order)?;
    if weight > WEIGHT_MAX {
        return Err(format!("a weight is at most {WEIGHT_MAX}"));
    }
    match weight {
        WEIGHT_DEFAULT => next.policy.weights.remove(&order),
        weight => next.policy.weights.insert(order, weight),
    };
    Ok(format!("order {order} has weight {weight}"))
}

fn create(next: &mut Topology, engine: &str, members: &[RadiantId]) -> Result<String, Refusal> {
    if !(1..=MEMBERS_MAX).contains(&members.len()) {
        return Err(format!("an order has 1 to {MEMBERS_MAX} members"));
    }
    let preferred_herald = members.first().copied().unwrap_or_default();
    let mut members = members.to_vec();
    members.sort_unstable();
    members.dedup();
    for member in &members {
        let radiant = next.radiant(*member).ok_or_else(|| format!("there is no radiant {member}"))?;
        if !matches!(radiant.standing, Standing::Active | Standing::Spare) {
            let word = membership::word(radiant.standing);
            return Err(format!("{} is {word} and takes no seats", membership::called(&radiant.name)));
        }
    }
    let highest = next.orders.iter().map(|order| order.id).max().unwrap_or_default();
    let id = highest.max(next.policy.highest_removed).0.checked_add(1).map(OrderId);
    let id = id.ok_or("the highest order id is in use, so that there is none for another")?;
    let size = u32::try_from(members.len()).unwrap_or(u32::MAX);
    // Its members open it as founders do, who have the list of epoch 1.
    let roster = Roster { epoch: Epoch(1), size, ..Roster::default() };
    for radiant in next.radiants.iter_mut().filter(|radiant| members.contains(&radiant.id)) {
        radiant.standing = Standing::Active;
    }
    let what = format!("order {id} of {} radiants, replicated by {engine}", members.len());
    next.orders.push(Order { id, engine: engine.to_owned(), members, preferred_herald, roster });
    Ok(what)
}

fn remove_later(next: &mut Topology, order: OrderId, remove: bool) -> Result<String, Refusal> {
    data_order(next, order)?;
    if !remove {
        next.policy.removing.remove(&order);
        return Ok(format!("order {order} is to stay"));
    }
    if let Some((shard, _)) = next.policy.pins.iter().find(|(_, to)| **to == order) {
        return Err(format!("shard {shard} is pinned to order {order}; unpin it first"));
    }
    let others = next.orders.iter().filter(|one| !one.id.is_control() && one.id != order);
    if !others.clone().any(|one| next.policy.weight(one.id) > 0) {
        return Err(format!(
            "no other order takes the shards of order {order}; give one a weight, or create one"
        ));
    }
    next.policy.removing.insert(order);
    Ok(format!("order {order} is to be emptied and removed"))
}

fn remove_now(next: &mut Topology, order: OrderId) -> Result<String, Refusal> {
    data_order(next, order)?;
    if !next.policy.removing.contains(&order) {
        return Err(format!("order {order} is not to be removed"));
    }
    let shards = next.shards_of(order).len();
    if shards > 0 {
        return Err(format!("order {order} has {shards} shards still"));
    }
    let before = next.clone();
    next.orders.retain(|one| one.id != order);
    next.policy.removing.remove(&order);
    next.policy.weights.remove(&order);
    next.policy.highest_removed = next.policy.highest_removed.max(order);
    membership::settle_standings(&before, next);
    Ok(format!("order {order} is removed"))
}

fn data_order(topology: &Topology, id: OrderId) -> Result<&Order, Refusal> {
    let found = topology.order(id).filter(|order| !order.id.is_control());
    found.ok_or_else(|| format!("there is no data order {id}"))
}
