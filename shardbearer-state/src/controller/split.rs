//! Splits in the control order: a migration to a shard that its commit makes.
//!
//! Until then the new shard is a number alone, in the record. With it the table's scheme gets a cut, and the table a shard.

use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::migration::{Migration, Phase, Split};
use shardbearer_core::slots::Slots;
use shardbearer_core::topology::{Shard, Table, Topology};

use super::moves::{Asked, Outcome, next, under_way};

/// Begins a split; `is_in_history`: whether a shard was ever on its way. The first slot of the new shard is named by whoever asks: so asking again does not split what came of it.
pub(super) fn plan(
    mut topology: Topology,
    last: Option<Migration>,
    split: Split,
    to: OrderId,
    asked: &Asked<'_>,
    mut is_in_history: impl FnMut(ShardId) -> bool,
) -> Outcome {
    let Split { parent, at } = split;
    if let Some(last) = &last {
        let same = last.split == Some(split) && last.to == to;
        match last.phase {
            Phase::Collected if same => return Outcome::AsItIs(last.ended),
            Phase::Collected | Phase::Returned => {}
            Phase::Planned | Phase::Copying | Phase::Frozen | Phase::Serving if same => {
                return Outcome::AsItIs(last.id);
            }
            Phase::Planned | Phase::Copying | Phase::Frozen | Phase::Serving | Phase::Returning => {
                return under_way(last);
            }
        }
    }
    let Some((table, position)) = place(&topology, parent) else {
        return Outcome::Refuse(format!("there is no shard {parent}"));
    };
    let from = table.shards.get(position).map_or(OrderId::NONE, |shard| shard.order);
    if from.is_none() {
        return Outcome::Refuse(format!("shard {parent} belongs to no order"));
    }
    if to.is_control() || topology.order(to).is_none() {
        return Outcome::Refuse(format!("there is no data order {to}"));
    }
    if topology.policy.removing.contains(&to) {
        return Outcome::Refuse(format!("order {to} is being removed"));
    }
    let Some(slots) = Slots::parse(&table.scheme) else {
        return Outcome::Refuse(format!(
            "table {} is sharded by {:?}; only slots can be split",
            table.name, table.scheme
        ));
    };
    let range = slots.slots_of(position);
    if !range.contains(&usize::from(at)) || usize::from(at) == range.start {
        return Outcome::Refuse(match range.len() {
            1 => format!("shard {parent} has one slot, {}, which cannot be divided", range.start),
            _ => format!(
                "shard {parent} has the slots {} to {}: it can be split at those from {} on",
                range.start,
                range.end - 1,
                range.start + 1
            ),
        });
    }
    let highest = topology.tables.iter().flat_map(|table| &table.shards).map(|shard| shard.id.0).max();
    // One whose split was called off has not been a shard, but the orders may still have a record of it.
    let mut used = last.map_or(0, |last| last.shard.0).max(highest.unwrap_or(0));
    let shard = loop {
        let Some(next) = used.checked_add(1) else {
            return Outcome::Refuse(
                "the highest shard id is in use, so that there is none for another".into(),
            );
        };
        if !is_in_history(ShardId(next)) {
            break ShardId(next);
        }
        used = next;
    };
    let id = next(&mut topology);
    let migration = Migration {
        id,
        shard,
        split: Some(split),
        until: slots.end_of(position),
        from,
        to,
        who: asked.who.to_owned(),
        why: asked.why.to_owned(),
        started_ms: asked.at_ms,
        changed_ms: asked.at_ms,
        version: 1,
        ..Migration::default()
    };
    let what = format!(
        "shard {parent} of order {from} begins to be split at slot {at}: shard {shard} will be with order {to}"
    );
    Outcome::Epoch { topology: topology.into(), what, migration }
}

/// The new shard is there, and the other one ends where it begins.
pub(super) fn commit(mut topology: Topology, present: Migration, split: Split) -> Outcome {
    let Split { parent, at } = split;
    let Migration { shard, from, to, .. } = present;
    let ended = next(&mut topology);
    let changed = || Outcome::Refuse("the shard is not what it was".into());
    let Some((name, position)) = place(&topology, parent).map(|(table, at)| (table.name.clone(), at)) else {
        return changed();
    };
    let Some(table) = topology.tables.iter_mut().find(|table| table.name == name) else { return changed() };
    let Some(slots) = Slots::parse(&table.scheme) else { return changed() };
    let owner = table.shards.get(position).map(|shard| shard.order);
    let Some(cut) = slots.cut(at).filter(|_| slots.shard_of_slot(at) == position && owner == Some(from))
    else {
        return changed();
    };
    let range = cut.slots_of(position + 1);
    table.scheme = shardbearer_core::placement::ShardingScheme::describe(&cut);
    table.shards.insert(position + 1, Shard { id: shard, order: to });
    let (first, last) = (range.start, range.end.saturating_sub(1));
    let shards = topology.shards_of(to).len();
    let effect = format!(
        "shard {shard} has the slots {first} to {last} of shard {parent}; order {to} has {shards} shards instead of {}",
        shards.saturating_sub(1)
    );
    let what =
        format!("shard {parent} is split: shard {shard}, the slots {first} to {last}, belongs to order {to}");
    Outcome::Epoch {
        topology: topology.into(),
        what,
        migration: Migration { phase: Phase::Serving, ended, effect, ..present },
    }
}

/// The table of a shard, and the shard's position in it.
fn place(topology: &Topology, shard: ShardId) -> Option<(&Table, usize)> {
    let position = |table: &Table| table.shards.iter().position(|one| one.id == shard);
    topology.tables.iter().find_map(|table| Some((table, position(table)?)))
}
