//! The history of configurations as something to ask and to go back in: what differs between two of them, and what
//! would take back what one of them changed.

use std::fmt;

use shardbearer_core::control::EpochRecord;
use shardbearer_core::ids::{OrderId, RadiantId, ShardId};
use shardbearer_core::membership::Standing;
use shardbearer_core::topology::{Order, Radiant, Topology};

use crate::membership::ask::Action;
use crate::membership::word;

/// Something that is not the same in two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// "radiant", "order", "table" or "shard".
    pub kind: &'static str,
    /// Which one.
    pub id: u64,
    /// What about it: "standing", "order", "members" and so on. Empty: that there is one.
    pub part: &'static str,
    /// In the first configuration; empty: nothing.
    pub before: String,
    /// In the second.
    pub after: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { kind, id, part, before, after } = self;
        let or_none = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
        match (*part, before.is_empty(), after.is_empty()) {
            ("", true, _) => write!(out, "{kind} {id} is new: {after}"),
            ("", _, true) => write!(out, "{kind} {id} is gone: {before}"),
            _ => write!(out, "{kind} {id}, {part}: {} -> {}", or_none(before), or_none(after)),
        }
    }
}

/// All that differs, radiants first, then orders, tables and shards.
pub fn differences(before: &Topology, after: &Topology) -> Vec<Difference> {
    let mut found = Vec::new();
    pairs(
        &before.radiants,
        &after.radiants,
        |radiant| radiant.id.0,
        |id, one, other| {
            compare(&mut found, "radiant", id, one.map(radiant_parts), other.map(radiant_parts));
        },
    );
    pairs(
        &before.orders,
        &after.orders,
        |order| order.id.0,
        |id, one, other| {
            let one = one.map(|order| order_parts(before, order));
            let other = other.map(|order| order_parts(after, order));
            compare(&mut found, "order", id, one, other);
        },
    );
    pairs(
        &before.tables,
        &after.tables,
        |table| table.id.0,
        |id, one, other| {
            let parts = |table: &shardbearer_core::topology::Table| {
                vec![("name", table.name.clone()), ("scheme", table.scheme.clone())]
            };
            compare(&mut found, "table", id, one.map(parts), other.map(parts));
        },
    );
    let shards = |topology: &Topology| {
        let mut all: Vec<_> = topology.tables.iter().flat_map(|table| table.shards.clone()).collect();
        all.sort_by_key(|shard| shard.id);
        all
    };
    pairs(
        &shards(before),
        &shards(after),
        |shard| shard.id.0,
        |id, one, other| {
            let parts = |shard: &shardbearer_core::topology::Shard| {
                let owner = if shard.order.is_none() { String::new() } else { shard.order.to_string() };
                vec![("order", owner)]
            };
            compare(&mut found, "shard", id, one.map(parts), other.map(parts));
        },
    );
    found
}

/// Goes through two lists by id.
fn pairs<T>(
    one: &[T],
    other: &[T],
    id: impl Fn(&T) -> u64,
    mut each: impl FnMut(u64, Option<&T>, Option<&T>),
) {
    let mut ids: Vec<u64> = one.iter().chain(other).map(&id).collect();
    ids.sort_unstable();
    ids.dedup();
    for wanted in ids {
        let find = |list: &'_ [T]| list.iter().position(|item| id(item) == wanted);
        each(wanted, find(one).and_then(|at| one.get(at)), find(other).and_then(|at| other.get(at)));
    }
}

type Parts = Vec<(&'static str, String)>;

fn compare(
    found: &mut Vec<Difference>,
    kind: &'static str,
    id: u64,
    one: Option<Parts>,
    other: Option<Parts>,
) {
    let whole = |parts: Parts| {
        let said = parts.into_iter().filter(|(_, value)| !value.is_empty());
        said.map(|(part, value)| format!("{part} {value}")).collect::<Vec<_>>().join(", ")
    };
    match (one, other) {
        (Some(one), Some(other)) => {
            for ((part, before), (_, after)) in one.into_iter().zip(other) {
                if before != after {
                    found.push(Difference { kind, id, part, before, after });
                }
            }
        }
        (one, other) => {
            let (before, after) = (one.map(whole).unwrap_or_default(), other.map(whole).unwrap_or_default());
            found.push(Difference { kind, id, part: "", before, after });
        }
    }
}

fn radiant_parts(radiant: &Radiant) -> Parts {
    let to = match radiant.standing {
        Standing::Draining { to } | Standing::Leaving { to } if !to.is_none() => {
            format!(" (to radiant {to})")
        }
        _ => String::new(),
    };
    vec![
        ("name", radiant.name.clone()),
        ("standing", format!("{}{to}", word(radiant.standing))),
        ("grpc", radiant.doors.grpc.clone()),
        ("resp", radiant.doors.resp.clone()),
        ("http", radiant.doors.http.clone()),
    ]
}

fn order_parts(topology: &Topology, order: &Order) -> Parts {
    let names = |ids: &[RadiantId]| {
        let name = |id: &RadiantId| topology.radiant(*id).map_or(id.to_string(), |found| found.name.clone());
        ids.iter().map(name).collect::<Vec<_>>().join(" ")
    };
    vec![
        ("engine", order.engine.clone()),
        ("members", names(&order.members)),
        ("learners", names(&order.roster.learners)),
        ("leaving", names(&order.roster.leaving)),
        ("preferred herald", names(&[order.preferred_herald])),
    ]
}

/// What takes back what an epoch changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    let [difference] = differences.as_slice() else {
        return Err(match differences.len() {
            0 => format!(
                "epoch {epoch} ({}) changed nothing that lasts; a move that is under way is called off by `shard cancel`, \
                 one that is over is reverted by the epoch that ended it",
                record.what
            ),
            _ => format!("epoch {epoch} ({}) {SEATS}", record.what),
        });
    };
    match (difference.kind, difference.part) {
        ("shard", "order") => move_back(ShardId(difference.id), before, after, present),
        ("radiant", "standing") => stand_back(RadiantId(difference.id), before, after, present),
        ("radiant", "") => Err(format!(
            "epoch {epoch} ({}) cannot be reverted: who is here does not vanish; `radiant leave` has it leave",
            record.what
        )),
        ("radiant", _) => Err(format!(
            "epoch {epoch} ({}) cannot be reverted: where a radiant is, its own configuration says",
            record.what
        )),
        _ => Err(format!("epoch {epoch} ({}) {SEATS}", record.what)),
    }
}

const SEATS: &str = "changed who has which seat, which the scherald decides step by step; `radiant drain`, `undrain`, \
                     `join` and `replace` tell it what you want";

fn move_back(
    shard: ShardId,
    before: &Topology,
    after: &Topology,
    present: &Topology,
) -> Result<Undo, String> {
    let owner = |topology: &Topology| {
        let mut shards = topology.tables.iter().flat_map(|table| &table.shards);
        shards.find(|found| found.id == shard).map(|found| found.order)
    };
    let Some(to) = owner(before).filter(|order| !order.is_none()) else {
        return Err(format!("shard {shard} had no owner before"));
    };
    let (Some(given), Some(now)) = (owner(after), owner(present)) else {
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
    let name = present.radiant(radiant).map_or_else(|| radiant.to_string(), |found| found.name.clone());
    if is == Standing::Gone {
        return Err(format!("radiant {name} has left; it comes back from an empty data directory"));
    }
    if is == was {
        return Err(format!("radiant {name} is {} already", word(is)));
    }
    if is != became {
        return Err(format!("radiant {name} is {} by now; revert the epoch that made it so", word(is)));
    }
    let action = match (was, became) {
        (Standing::Active, Standing::Draining { .. } | Standing::Leaving { .. }) => Action::Undrain,
        (Standing::Draining { .. }, Standing::Active) => Action::Drain,
        _ => {
            return Err(format!(
                "radiant {name} was {} and became {}: `radiant drain` empties it, but a part once taken is not given back",
                word(was),
                word(became)
            ));
        }
    };
    Ok(Undo::Stand { radiant, action })
}

#[cfg(test)]
mod tests;
