//! The opposite of a migration.
//!
//! Whoever asks names the migration, so that asking again after a lost answer neither is refused because the first request
//! began the opposite, nor undoes the opposite.

use shardbearer_core::ids::{Epoch, OrderId, ShardId};
use shardbearer_core::machine::Workspace;
use shardbearer_core::migration::{Migration, Phase, Split};
use shardbearer_core::rebalancing::Reason;
use shardbearer_core::topology::Topology;

use super::moves::{self, Asked, Outcome};
use super::{SPACE, stored};
use crate::keys;

/// Decides whether the migration of this name is undone; without a name, the last one.
pub(super) fn decide(
    topology: Topology,
    last: Option<Migration>,
    id: Epoch,
    asked: &Asked<'_>,
    work: &mut Workspace<'_>,
) -> Outcome {
    let Some(last) = last else { return Outcome::Refuse("no shard was ever moved".into()) };
    if !id.is_none() && last.id != id {
        return earlier(&topology, id, work);
    }
    let Migration { shard, from, to, .. } = last;
    if let (Some(split), Phase::Serving | Phase::Collected) = (last.split, last.phase) {
        return not_merged(shard, split, from);
    }
    match last.phase {
        Phase::Collected => moves::plan(topology, Some(last), shard, from, &Reason::default(), asked),
        Phase::Serving => Outcome::Refuse(format!(
            "order {to} owns shard {shard}, and order {from} is still dropping its copy; undo it when that is over"
        )),
        Phase::Returned => {
            Outcome::Refuse("the last migration was called off: there is nothing to undo".into())
        }
        Phase::Planned | Phase::Copying | Phase::Frozen | Phase::Returning => {
            Outcome::Refuse("the migration is still under way; cancel it instead".into())
        }
    }
}

/// Two shards are not made one again.
fn not_merged(shard: ShardId, split: Split, from: OrderId) -> Outcome {
    let parent = split.parent;
    Outcome::Refuse(format!(
        "shard {shard} was split off shard {parent}, and shards are not merged; `shard move {shard} --to {from}` takes it to \
         the order of shard {parent}"
    ))
}

/// One that others have followed can have been undone already, by the next of its shard.
fn earlier(topology: &Topology, id: Epoch, work: &mut Workspace<'_>) -> Outcome {
    let shards = topology.tables.iter().flat_map(|table| &table.shards);
    let found = shards.map(|shard| shard.id).find_map(|shard| moved(shard, id, work));
    let Some(of) = found else { return Outcome::Refuse(format!("there is no migration {id}")) };
    if let (Some(split), false) = (of.split, of.phase == Phase::Returned) {
        return not_merged(of.shard, split, of.from);
    }
    match next(of.shard, id, work) {
        Some(next) if next.split.is_none() && (next.from, next.to) == (of.to, of.from) => match next.phase {
            Phase::Returning | Phase::Returned => Outcome::Refuse(format!(
                "migration {id} was being undone by migration {}, which was called off",
                next.id
            )),
            Phase::Planned | Phase::Copying | Phase::Frozen | Phase::Serving | Phase::Collected => {
                Outcome::AsItIs(next.id)
            }
        },
        Some(_) | None => Outcome::Refuse(format!(
            "migration {id} is not the last; move shard {} by hand, or revert the epoch that ended it",
            of.shard
        )),
    }
}

fn moved(shard: ShardId, id: Epoch, work: &mut Workspace<'_>) -> Option<Migration> {
    work.get(SPACE, &keys::moved(shard, id)).as_ref().and_then(stored::migration::decode)
}

/// The migration of a shard that followed one.
fn next(shard: ShardId, id: Epoch, work: &mut Workspace<'_>) -> Option<Migration> {
    let mut after = keys::moves_of(shard);
    after.start = keys::moved(shard, Epoch(id.0.checked_add(1)?)).to_vec();
    let (_, row) = work.scan(SPACE, &after, 1).pop()?;
    stored::migration::decode(&row)
}
