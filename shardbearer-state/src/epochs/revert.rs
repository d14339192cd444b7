//! What would take back what one epoch changed.

use shardbearer_core::control::EpochRecord;
use shardbearer_core::ids::{OrderId, RadiantId, ShardId};
use shardbearer_core::membership::Standing;
use shardbearer_core::rebalancing::{RebalanceChange, WEIGHT_DEFAULT};
use shardbearer_core::topology::Topology;

use super::differences::{Difference, differences};
use crate::membership::ask::Action;
use crate::membership::{called, word};

/// What takes back what an epoch changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undo {
    /// A shard goes back to the order that had it.
    Move {
        /// The shard.
        shard: ShardId,
        /// The order that had it.
        to: OrderId,
    },
    /// A radiant gets its former part back.
    Stand {
        /// The radiant.
        radiant: RadiantId,
        /// What has to be asked for.
        action: Action,
    },
    /// Shards are to be spread as before.
    Spread(RebalanceChange),
}

/// How to take back what an epoch changed, from the configuration before it, its own, and the one in force. An error is a
/// sentence: why that cannot be, and what can.
pub fn revert(
    record: &EpochRecord,
    before: &Topology,
    after: &Topology,
    present: &Topology,
) -> Result<Undo, String> {
    let epoch = record.epoch;
    if epoch.0 <= 1 {
        return Err("epoch 1 founded the cluster: there is nothing to go back to".into());
    }
    let differences = differences(before, after);
    let impossible = |why: &str| Err(format!("epoch {epoch} ({}) cannot be reverted: {why}", record.what));
    let whole =
        differences.iter().find(|difference| difference.kind == "order" && difference.part.is_empty());
    if let Some(Difference { id, before, .. }) = whole {
        return impossible(&match before.is_empty() {
            true => format!(
                "an order does not vanish with what it has; `order remove {id}` empties and removes it"
            ),
            false => format!("order {id} is gone with its number; `order create` makes another"),
        });
    }
    if differences.iter().any(|difference| (difference.kind, difference.part) == ("table", "scheme")) {
        return impossible(
            "it split a shard, and shards are not merged; `shard move` takes the new one anywhere",
        );
    }
    let difference = match differences.as_slice() {
        [] => {
            return Err(format!(
                "epoch {epoch} ({}) made no difference to the configuration: the move that it began is called off by \
                 `shard cancel` while it is under way, and reverted by the epoch that ended it when it is over",
                record.what
            ));
        }
        [difference] => difference,
        // Rebalancing that is switched off does not go on with what it was at, either.
        [difference, others @ ..] if others.iter().all(|other| other.kind == "rebalancing") => difference,
        _ => return impossible(SEATS),
    };
    let id = difference.id;
    match (difference.kind, difference.part) {
        ("shard", "order") => move_back(ShardId(id), before, after, present),
        ("radiant", "standing") => stand_back(RadiantId(id), before, after, present),
        ("shard", "pin") | ("order", "weight" | "removal") | ("rebalancing", _) => {
            spread_back(difference, before, present)
        }
        ("radiant", "") => impossible("who is here does not vanish; `radiant leave` has it leave"),
        ("radiant", _) => impossible("where a radiant is, its own configuration says"),
        _ => impossible(SEATS),
    }
}

const SEATS: &str = "it changed who has which seat, which the scherald decides step by step; `radiant drain`, `undrain`, \
                     `join` and `replace` tell it what you want";

fn move_back(
    shard: ShardId,
    before: &Topology,
    after: &Topology,
    present: &Topology,
) -> Result<Undo, String> {
    let Some(to) = before.owner_of(shard).filter(|order| !order.is_none()) else {
        return Err(format!("shard {shard} had no owner before"));
    };
    let (Some(given), Some(now)) = (after.owner_of(shard), present.owner_of(shard)) else {
        return Err(format!("there is no shard {shard} any more"));
    };
    if now == to {
        return Err(format!("shard {shard} is with order {to} already"));
    }
    if now != given {
        return Err(format!(
            "shard {shard} went on from order {given} to order {now}; revert the epoch of that move, or move it by hand"
        ));
    }
    if present.order(to).is_none() {
        return Err(format!("there is no order {to} any more"));
    }
    Ok(Undo::Move { shard, to })
}

fn stand_back(
    radiant: RadiantId,
    before: &Topology,
    after: &Topology,
    present: &Topology,
) -> Result<Undo, String> {
    let of = |topology: &Topology| topology.radiant(radiant).map(|found| found.standing);
    let (Some(was), Some(became), Some(is)) = (of(before), of(after), of(present)) else {
        return Err(format!("there is no radiant {radiant}"));
    };
    let name =
        present.radiant(radiant).map_or_else(|| format!("radiant {radiant}"), |found| called(&found.name));
    if is == Standing::Gone {
        return Err(format!("{name} has left; it comes back from an empty data directory"));
    }
    if is == was {
        return Err(format!("{name} is {} already", word(is)));
    }
    if is != became {
        return Err(format!("{name} is {} by now; revert the epoch that made it so", word(is)));
    }
    let action = match (was, became) {
        (Standing::Active, Standing::Draining { .. } | Standing::Leaving { .. }) => Action::Undrain,
        (Standing::Draining { .. }, Standing::Active) => Action::Drain,
        _ => {
            return Err(format!(
                "{name} was {} and became {}: `radiant drain` empties it, but a part once taken is not given back",
                word(was),
                word(became)
            ));
        }
    };
    Ok(Undo::Stand { radiant, action })
}

/// The policy is as before again, unless it has become a third thing meanwhile.
fn spread_back(difference: &Difference, before: &Topology, present: &Topology) -> Result<Undo, String> {
    let Difference { kind, id, part, .. } = difference;
    let subject =
        if *id == 0 { format!("the {part} of {kind}") } else { format!("the {part} of {kind} {id}") };
    // What differs now from what was before: the same as then, nothing, or something else.
    let now = differences(before, present);
    let Some(now) =
        now.iter().find(|now| (now.kind, now.id) == (*kind, *id) && [*part, ""].contains(&now.part))
    else {
        let was = if difference.before.is_empty() { "none" } else { &difference.before };
        return Err(format!("{subject} is {was} already"));
    };
    if now.part.is_empty() {
        return Err(format!("there is no {kind} {id} any more"));
    }
    if now.after != difference.after {
        let is = if now.after.is_empty() { "none" } else { &now.after };
        return Err(format!("{subject} is {is} by now; revert the epoch that made it so"));
    }
    let (policy, order, shard) = (&before.policy, OrderId(*id), ShardId(*id));
    Ok(Undo::Spread(match *part {
        "pin" => RebalanceChange::Pin { shard, to: policy.pins.get(&shard).copied().unwrap_or_default() },
        "weight" => {
            let weight = policy.weights.get(&order).copied().unwrap_or(WEIGHT_DEFAULT);
            RebalanceChange::Weight { order, weight }
        }
        "removal" => RebalanceChange::Remove { order, remove: policy.removing.contains(&order) },
        "mode" => RebalanceChange::Mode(policy.mode),
        "paused" => RebalanceChange::Pause(policy.paused),
        _ if policy.running.is_none() => RebalanceChange::Run(None),
        _ => return Err("a rebalance that has ended is begun again by `rebalance`".into()),
    }))
}
