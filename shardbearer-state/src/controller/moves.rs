//! Migrations in the control order: at most one at a time, each the epoch that begins it and the epoch that ends it.
//!
//! A change that names another migration than the last is stale and refused. One that is carried out already is
//! answered as if it had been now: whoever asked may have lost the first answer.

use shardbearer_core::ids::{Epoch, OrderId, ShardId};
use shardbearer_core::migration::{Migration, MigrationChange, Phase, Split};
use shardbearer_core::rebalancing::Reason;
use shardbearer_core::topology::{Shard, Topology};

use super::split;

/// What becomes of a change.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// A new configuration, and the record.
    Epoch { topology: Box<Topology>, what: String, migration: Migration },
    /// The record alone.
    Record(Migration),
    /// It is so already, since this epoch.
    AsItIs(Epoch),
    /// It cannot be; a sentence.
    Refuse(String),
}

/// Who asks, why and when.
pub(super) struct Asked<'a> {
    pub who: &'a str,
    pub why: &'a str,
    pub at_ms: u64,
}

/// Decides on a change; on what is undone, see [`super::undo`], on what is split, [`split::plan`].
pub(super) fn decide(
    topology: Topology,
    last: Option<Migration>,
    change: &MigrationChange,
    asked: &Asked<'_>,
) -> Outcome {
    let id = match change {
        MigrationChange::Plan { shard, to } => {
            return plan(topology, last, *shard, *to, &Reason::default(), asked);
        }
        // With the history at hand, see `split::plan`.
        MigrationChange::Split { .. } => return Outcome::Refuse("a split is decided elsewhere".into()),
        MigrationChange::Pause { id, .. }
        | MigrationChange::Undo { id }
        | MigrationChange::Cancel { id }
        | MigrationChange::Copy { id }
        | MigrationChange::Freeze { id }
        | MigrationChange::Commit { id }
        | MigrationChange::Collected { id }
        | MigrationChange::Returned { id, .. }
        | MigrationChange::Report { id, .. } => *id,
    };
    let Some(mut present) = last.filter(|last| last.id == id) else {
        return Outcome::Refuse(format!("there is no migration {id} under way"));
    };
    present.version += 1;
    present.changed_ms = asked.at_ms;
    match change {
        MigrationChange::Plan { .. } | MigrationChange::Split { .. } | MigrationChange::Undo { .. } => {
            Outcome::Refuse("a migration begins without a name".into()) // decided elsewhere
        }
        MigrationChange::Pause { paused, .. } => pause(present, *paused, topology.epoch),
        MigrationChange::Cancel { .. } => cancel(present, topology.epoch, asked),
        MigrationChange::Copy { .. } => advance(present, Phase::Planned, Phase::Copying),
        MigrationChange::Freeze { .. } if present.paused => Outcome::Refuse("it is paused".into()),
        MigrationChange::Freeze { .. } => advance(present, Phase::Copying, Phase::Frozen),
        MigrationChange::Commit { .. } => commit(topology, present),
        MigrationChange::Collected { .. } => collected(present),
        MigrationChange::Returned { released, discarded, .. } => {
            returned(topology, present, *released, *discarded)
        }
        MigrationChange::Report { report, .. } => match present.phase.is_over() {
            true => Outcome::Refuse("it is over".into()),
            false => Outcome::Record(Migration { report: report.clone(), ..present }),
        },
    }
}

/// Begins a migration.
pub(super) fn plan(
    mut topology: Topology,
    last: Option<Migration>,
    shard: ShardId,
    to: OrderId,
    reason: &Reason,
    asked: &Asked<'_>,
) -> Outcome {
    if let Some(present) = last.filter(|last| !last.phase.is_over()) {
        let same = present.split.is_none() && (present.shard, present.to) == (shard, to);
        if same && present.phase != Phase::Returning {
            return Outcome::AsItIs(present.id);
        }
        return under_way(&present);
    }
    let Some(found) = shard_in(&mut topology, shard) else {
        return Outcome::Refuse(format!("there is no shard {shard}"));
    };
    let from = found.order;
    if from.is_none() {
        return Outcome::Refuse(format!("shard {shard} belongs to no order"));
    }
    if to.is_control() || topology.order(to).is_none() {
        return Outcome::Refuse(format!("there is no data order {to}"));
    }
    if from == to {
        return Outcome::AsItIs(topology.epoch);
    }
    if let Some(pin) =
        topology.policy.pins.get(&shard).filter(|pin| **pin != to && topology.order(**pin).is_some())
    {
        return Outcome::Refuse(format!("shard {shard} is pinned to order {pin}; unpin it first"));
    }
    if topology.policy.removing.contains(&to) {
        return Outcome::Refuse(format!("order {to} is being removed"));
    }
    let id = next(&mut topology);
    let migration = Migration {
        id,
        shard,
        from,
        to,
        who: asked.who.to_owned(),
        why: asked.why.to_owned(),
        reason: reason.clone(),
        started_ms: asked.at_ms,
        changed_ms: asked.at_ms,
        version: 1,
        ..Migration::default()
    };
    let what = format!("shard {shard} begins to move from order {from} to order {to}");
    Outcome::Epoch { topology: topology.into(), what, migration }
}

/// Another migration is refused.
pub(super) fn under_way(present: &Migration) -> Outcome {
    let Migration { shard, from, to, phase, .. } = present;
    let phase = phase.name();
    Outcome::Refuse(match present.split {
        None => {
            format!(
                "shard {shard} is moving from order {from} to order {to} ({phase}); one shard moves at a time"
            )
        }
        Some(Split { parent, .. }) => format!(
            "shard {shard} is being split off shard {parent}, from order {from} to order {to} ({phase}); one shard moves \
             at a time"
        ),
    })
}

fn pause(present: Migration, paused: bool, now: Epoch) -> Outcome {
    match present.phase {
        Phase::Planned | Phase::Copying if present.paused == paused => Outcome::AsItIs(now),
        Phase::Planned | Phase::Copying => Outcome::Record(Migration { paused, ..present }),
        Phase::Frozen | Phase::Serving | Phase::Collected | Phase::Returning | Phase::Returned => {
            Outcome::Refuse(format!("only the copying can be paused: {}", past_copying(&present)))
        }
    }
}

/// Why a halt would make no sense, and what does.
fn past_copying(migration: &Migration) -> String {
    let Migration { shard, from, to, .. } = migration;
    let source = migration.source();
    match migration.phase {
        Phase::Planned | Phase::Copying => "it goes on".into(),
        Phase::Frozen => format!(
            "writers of shard {source} wait for the last rows to cross, and a halt would only have them wait for longer; \
             cancel it, and order {from} goes on serving"
        ),
        Phase::Serving => format!(
            "order {to} owns shard {shard} already, and order {from} only drops what it had; undo it to have it back"
        ),
        Phase::Collected => format!("it is over, shard {shard} is with order {to}"),
        Phase::Returning => {
            format!("it is being called off, and nothing is copied; order {from} keeps shard {source}")
        }
        Phase::Returned => format!("it was called off, shard {source} is with order {from}"),
    }
}

fn cancel(present: Migration, now: Epoch, asked: &Asked<'_>) -> Outcome {
    match present.phase {
        Phase::Planned | Phase::Copying | Phase::Frozen => {
            let called_off = format!("{}: {}", asked.who, asked.why);
            Outcome::Record(Migration { phase: Phase::Returning, called_off, paused: false, ..present })
        }
        Phase::Returning => Outcome::AsItIs(now),
        Phase::Returned => Outcome::AsItIs(present.ended),
        Phase::Serving | Phase::Collected => Outcome::Refuse(match present.split {
            None => format!("order {} owns the shard already; undo it instead", present.to),
            Some(_) => format!(
                "shard {} is there already, with order {}, and shards are not merged",
                present.shard, present.to
            ),
        }),
    }
}

fn advance(present: Migration, from: Phase, to: Phase) -> Outcome {
    if present.phase == from {
        return Outcome::Record(Migration { phase: to, ..present });
    }
    if present.phase == to {
        return Outcome::AsItIs(present.ended);
    }
    Outcome::Refuse(format!("it is {}, not {}", present.phase.name(), from.name()))
}

fn commit(mut topology: Topology, present: Migration) -> Outcome {
    match present.phase {
        Phase::Frozen => {}
        Phase::Serving | Phase::Collected => return Outcome::AsItIs(present.ended),
        Phase::Planned | Phase::Copying | Phase::Returning | Phase::Returned => {
            return Outcome::Refuse(format!("it is {}, not frozen", present.phase.name()));
        }
    }
    if let Some(split) = present.split {
        return split::commit(topology, present, split);
    }
    let ended = next(&mut topology);
    match shard_in(&mut topology, present.shard) {
        Some(shard) if shard.order == present.from => shard.order = present.to,
        Some(_) | None => return Outcome::Refuse("the shard is not where it was".into()),
    }
    let [from, to] = [present.from, present.to].map(|order| topology.shards_of(order).len());
    let effect = format!(
        "order {} has {from} shards instead of {}, order {} has {to} instead of {}",
        present.from,
        from + 1,
        present.to,
        to.saturating_sub(1)
    );
    let what = format!("shard {} belongs to order {} instead of {}", present.shard, present.to, present.from);
    Outcome::Epoch {
        topology: topology.into(),
        what,
        migration: Migration { phase: Phase::Serving, ended, effect, ..present },
    }
}

fn collected(mut present: Migration) -> Outcome {
    if present.phase == Phase::Serving {
        let Migration { report, changed_ms, started_ms, .. } = &present;
        let took_ms = changed_ms.saturating_sub(*started_ms);
        present.effect.push_str(&format!("; {} rows crossed in {took_ms} ms", report.rows));
    }
    advance(present, Phase::Serving, Phase::Collected)
}

fn returned(mut topology: Topology, present: Migration, released: bool, discarded: bool) -> Outcome {
    match present.phase {
        Phase::Returning => {}
        Phase::Returned => return Outcome::AsItIs(present.ended),
        Phase::Planned | Phase::Copying | Phase::Frozen | Phase::Serving | Phase::Collected => {
            return Outcome::Refuse(format!("it is {}, not returning", present.phase.name()));
        }
    }
    if (present.released || !released) && (present.discarded || !discarded) {
        return Outcome::AsItIs(topology.epoch);
    }
    let migration = Migration {
        released: present.released || released,
        discarded: present.discarded || discarded,
        ..present
    };
    if !(migration.released && migration.discarded) {
        return Outcome::Record(migration);
    }
    let ended = next(&mut topology);
    let what =
        format!("shard {} stays with order {}: {}", migration.source(), migration.from, migration.called_off);
    let effect = format!("nothing: it was called off, {}", migration.called_off);
    Outcome::Epoch {
        topology: topology.into(),
        what,
        migration: Migration { phase: Phase::Returned, ended, effect, ..migration },
    }
}

/// What was measured after a migration stands behind this.
const AFTERWARDS: &str = "; afterwards: ";

/// Whether a migration's effect has been measured after it was over.
pub fn is_measured(migration: &Migration) -> bool {
    migration.effect.contains(AFTERWARDS)
}

/// What was measured after a migration was over is added to what it changed, once.
pub(super) fn measured(last: Option<Migration>, id: Epoch, effect: &str, now: Epoch) -> Outcome {
    match last {
        Some(last) if last.id == id && last.phase.is_over() => {
            if is_measured(&last) {
                return Outcome::AsItIs(now);
            }
            let effect = format!("{}{AFTERWARDS}{effect}", last.effect);
            Outcome::Record(Migration { effect, version: last.version + 1, ..last })
        }
        Some(_) | None => Outcome::Refuse(format!("migration {id} is not the last, or not over")),
    }
}

pub(super) fn next(topology: &mut Topology) -> Epoch {
    topology.epoch = Epoch(topology.epoch.0 + 1);
    topology.epoch
}

fn shard_in(topology: &mut Topology, shard: ShardId) -> Option<&mut Shard> {
    topology.tables.iter_mut().flat_map(|table| &mut table.shards).find(|one| one.id == shard)
}
