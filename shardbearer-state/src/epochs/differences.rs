//! What differs between two configurations.

use std::fmt;

use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::membership::Standing;
use shardbearer_core::rebalancing::{Mode, Policy, WEIGHT_DEFAULT};
use shardbearer_core::topology::{Order, Radiant, Shard, Table, Topology};

use crate::membership::word;

/// Something that is not the same in two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// "radiant", "order", "table", "shard" or "rebalancing".
    pub kind: &'static str,
    /// Which one; 0 of what there is once, the rebalancing.
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
        if *id == 0 {
            return write!(out, "{kind}, {part}: {} -> {}", or_none(before), or_none(after));
        }
        match (*part, before.is_empty(), after.is_empty()) {
            ("", true, _) => write!(out, "{kind} {id} is new: {after}"),
            ("", _, true) => write!(out, "{kind} {id} is gone: {before}"),
            _ => write!(out, "{kind} {id}, {part}: {} -> {}", or_none(before), or_none(after)),
        }
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// All that differs, radiants first, then orders, tables and shards, and how shards are spread.
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
            let parts = |table: &Table| vec![("name", table.name.clone()), ("scheme", table.scheme.clone())];
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
            let one = one.map(|shard| shard_parts(before, shard));
            let other = other.map(|shard| shard_parts(after, shard));
            compare(&mut found, "shard", id, one, other);
        },
    );
    let [one, other] = [before, after].map(|topology| Some(rebalancing_parts(&topology.policy)));
    compare(&mut found, "rebalancing", 0, one, other);
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
        // As it was said; one that is removed has no weight in effect.
        ("weight", topology.policy.weights.get(&order.id).unwrap_or(&WEIGHT_DEFAULT).to_string()),
        (
            "removal",
            if topology.policy.removing.contains(&order.id) { "decided".into() } else { String::new() },
        ),
    ]
}

fn shard_parts(topology: &Topology, shard: &Shard) -> Parts {
    let or_nobody = |order: OrderId| if order.is_none() { String::new() } else { order.to_string() };
    let pin = topology.policy.pins.get(&shard.id).copied().unwrap_or_default();
    vec![("order", or_nobody(shard.order)), ("pin", or_nobody(pin))]
}

fn rebalancing_parts(policy: &Policy) -> Parts {
    vec![
        ("mode", policy.mode.name().into()),
        ("running", policy.running.map_or("", Mode::name).into()),
        ("paused", if policy.paused { "yes" } else { "no" }.into()),
    ]
}
