//! What the control order replicates: the cluster's configuration and its history. Serves no data.

mod anew;
mod moves;
mod past;
pub mod policy;
mod split;
mod stored;
#[cfg(test)]
mod tests;
mod undo;

use shardbearer_core::control::{Change, ControlCommand, ControlReply, EpochRecord};
use shardbearer_core::ids::{Epoch, Incarnation, OrderId, RadiantId, ShardId};
use shardbearer_core::log::LogPos;
use shardbearer_core::machine::{StateMachine, Workspace};
use shardbearer_core::membership::{MemberChange, Roster, Standing};
use shardbearer_core::migration::{Migration, MigrationChange};
use shardbearer_core::rebalancing::RebalanceChange;
use shardbearer_core::storage::{Space, StorageError, View};
use shardbearer_core::topology::{Doors, Radiant, Topology};

pub use self::moves::is_measured;
pub use self::past::{Page, epoch_at, epochs, epochs_from, topology_at};
use crate::{keys, membership};

const SPACE: Space = Space::Order(OrderId::CONTROL);

/// The machine of the control order. All its state is in rows.
#[derive(Default)]
pub struct ControlMachine;

impl StateMachine for ControlMachine {
    type Command = ControlCommand;
    type Reply = ControlReply;

    fn apply(&mut self, _: LogPos, command: ControlCommand, work: &mut Workspace<'_>) -> ControlReply {
        let present = work.get(SPACE, &keys::topology()).and_then(|row| stored::decode_topology(&row));
        let decision = match (&command.change, present) {
            (Change::Found(topology), None) => found(topology),
            (Change::Found(_), Some(present)) => Decision::AsItIs(present.epoch, RadiantId::NONE),
            (Change::Welcome { .. }, None) => {
                Decision::Refuse("the cluster is still being founded; try again".into())
            }
            (Change::Welcome { name, incarnation, doors }, Some(present)) => {
                welcome(present, name, *incarnation, doors)
            }
            (Change::Migration(_), None) => Decision::Refuse("there is no cluster yet".into()),
            (Change::Migration(change), Some(present)) => migrate(present, change, &command, work),
            (Change::Rebalance(change), Some(present)) => rebalance(present, change, &command, work),
            (Change::Members { .. } | Change::Rebalance(_), None) => {
                Decision::Refuse("the cluster is still being founded; try again".into())
            }
            (Change::Members { on, change }, Some(present)) => members(&present, *on, change),
            (Change::Anew(anew), present) => anew::begin(present, anew, command.at_ms, work),
        };
        match decision {
            Decision::Refuse(why) => ControlReply::Refused(why),
            Decision::AsItIs(epoch, radiant) => ControlReply::Changed { epoch, radiant },
            Decision::Make { topology, what, radiant } => {
                let epoch = topology.epoch;
                let record =
                    EpochRecord { epoch, at_ms: command.at_ms, who: command.who, why: command.why, what };
                work.put(SPACE, keys::topology(), stored::encode_topology(&topology));
                work.put(SPACE, keys::epoch(epoch), stored::encode_epoch(&record, &topology));
                ControlReply::Changed { epoch, radiant }
            }
        }
    }

    fn load(&mut self, view: &dyn View) -> Result<(), StorageError> {
        topology(view).map(drop)
    }

    fn spaces(&self) -> Vec<Space> {
        vec![SPACE]
    }

    fn take_dropped(&mut self) -> Vec<Space> {
        Vec::new()
    }
}

/// What becomes of a command.
enum Decision {
    /// A new configuration.
    Make { topology: Box<Topology>, what: String, radiant: RadiantId },
    /// It is so already.
    AsItIs(Epoch, RadiantId),
    /// It cannot be.
    Refuse(String),
}

fn found(topology: &Topology) -> Decision {
    let mut topology = topology.clone();
    topology.epoch = Epoch(1);
    for order in &mut topology.orders {
        let size = u32::try_from(order.members.len()).unwrap_or(u32::MAX);
        order.roster = Roster { epoch: Epoch(1), size, ..Roster::default() };
    }
    let what = format!(
        "cluster {} of {} radiants, {} data orders, {} shards",
        topology.cluster,
        topology.radiants.len(),
        topology.orders.len().saturating_sub(1),
        topology.tables.iter().map(|table| table.shards.len()).sum::<usize>(),
    );
    Decision::Make { topology: topology.into(), what, radiant: RadiantId::NONE }
}

fn welcome(mut topology: Topology, name: &str, incarnation: Incarnation, doors: &Doors) -> Decision {
    let epoch = topology.epoch;
    let next = Epoch(epoch.0 + 1);
    let same = |radiant: &Radiant| radiant.incarnation == incarnation;
    if topology.radiants.iter().any(|radiant| same(radiant) && radiant.standing == Standing::Gone) {
        return Decision::Refuse(format!(
            "radiant {name:?} has left this cluster; to come back it starts from an empty data directory"
        ));
    }
    let here = |radiant: &&mut Radiant| radiant.name == name && radiant.standing != Standing::Gone;
    if let Some(known) = topology.radiants.iter_mut().find(here) {
        if known.incarnation != incarnation {
            return Decision::Refuse(format!(
                "the name {name:?} belongs to another data directory (incarnation {}, this one is {incarnation}); \
                 start from that directory, or from an empty one under another [radiant] name",
                known.incarnation
            ));
        }
        if known.doors == *doors {
            return Decision::AsItIs(epoch, known.id);
        }
        let radiant = known.id;
        known.doors = doors.clone();
        topology.epoch = next;
        return Decision::Make {
            topology: topology.into(),
            what: format!("radiant {name} has other doors"),
            radiant,
        };
    }
    let highest = topology.radiants.iter().map(|radiant| radiant.id.0).max().unwrap_or(0);
    let Some(id) = highest.checked_add(1).map(RadiantId) else {
        let why = "the highest radiant id is in use, so that there is none for another";
        return Decision::Refuse(why.into());
    };
    let (name_of, doors, standing) = (name.to_owned(), doors.clone(), Standing::Spare);
    topology.radiants.push(Radiant { id, name: name_of, incarnation, doors, standing });
    topology.epoch = next;
    Decision::Make {
        topology: topology.into(),
        what: format!("radiant {name} ({id}) joins as a spare"),
        radiant: id,
    }
}

fn last_migration(work: &mut Workspace<'_>) -> Option<Migration> {
    work.get(SPACE, &keys::migration()).as_ref().and_then(stored::migration::decode)
}

fn migrate(
    present: Topology,
    change: &MigrationChange,
    command: &ControlCommand,
    work: &mut Workspace<'_>,
) -> Decision {
    let (now, last) = (present.epoch, last_migration(work));
    let asked = moves::Asked { who: &command.who, why: &command.why, at_ms: command.at_ms };
    let outcome = match change {
        MigrationChange::Undo { id } => undo::decide(present, last, *id, &asked, work),
        MigrationChange::Split { split, to } => {
            let is_in_history = |shard| !work.scan(SPACE, &keys::moves_of(shard), 1).is_empty();
            split::plan(present, last, *split, *to, &asked, is_in_history)
        }
        change => moves::decide(present, last, change, &asked),
    };
    carry_out(now, outcome, work)
}

fn rebalance(
    present: Topology,
    change: &RebalanceChange,
    command: &ControlCommand,
    work: &mut Workspace<'_>,
) -> Decision {
    let (now, last) = (present.epoch, last_migration(work));
    let asked = moves::Asked { who: &command.who, why: &command.why, at_ms: command.at_ms };
    let outcome = match change {
        RebalanceChange::Move { on, .. } if *on != now => {
            moves::Outcome::Refuse(format!("it was decided on epoch {on}, and {now} is in force; look again"))
        }
        RebalanceChange::Move { .. } if present.policy.paused => {
            moves::Outcome::Refuse("rebalancing is paused".into())
        }
        RebalanceChange::Move { shard, to, reason, .. } => {
            moves::plan(present, last, *shard, *to, reason, &asked)
        }
        RebalanceChange::Measured { id, effect } => moves::measured(last, *id, effect, now),
        RebalanceChange::Removed { order } if last.as_ref().is_some_and(|last| concerns(last, *order)) => {
            moves::Outcome::Refuse(format!("a shard is moving from or to order {order}"))
        }
        RebalanceChange::Mode(_)
        | RebalanceChange::Run(_)
        | RebalanceChange::Pause(_)
        | RebalanceChange::Pin { .. }
        | RebalanceChange::Weight { .. }
        | RebalanceChange::Create { .. }
        | RebalanceChange::Remove { .. }
        | RebalanceChange::Removed { .. } => {
            return match policy::carry_out(&present, change) {
                Ok((topology, _)) if topology == present => Decision::AsItIs(now, RadiantId::NONE),
                Ok((mut topology, what)) => {
                    topology.epoch = Epoch(now.0 + 1);
                    Decision::Make { topology: topology.into(), what, radiant: RadiantId::NONE }
                }
                Err(why) => Decision::Refuse(why),
            };
        }
    };
    carry_out(now, outcome, work)
}

fn concerns(last: &Migration, order: OrderId) -> bool {
    !last.phase.is_over() && [last.from, last.to].contains(&order)
}

fn carry_out(now: Epoch, outcome: moves::Outcome, work: &mut Workspace<'_>) -> Decision {
    let (record, decision) = match outcome {
        moves::Outcome::Refuse(why) => return Decision::Refuse(why),
        moves::Outcome::AsItIs(since) => return Decision::AsItIs(since, RadiantId::NONE),
        moves::Outcome::Record(migration) => (migration, Decision::AsItIs(now, RadiantId::NONE)),
        moves::Outcome::Epoch { topology, what, migration } => {
            (migration, Decision::Make { topology, what, radiant: RadiantId::NONE })
        }
    };
    let row = stored::migration::encode(&record);
    // It is in the history of both shards of a split.
    work.put(SPACE, keys::moved(record.shard, record.id), row.clone());
    work.put(SPACE, keys::moved(record.source(), record.id), row.clone());
    work.put(SPACE, keys::migration(), row);
    decision
}

/// Every migration of a shard, oldest first; splits of it among them.
pub fn moves_of(view: &dyn View, shard: ShardId) -> Result<Vec<Migration>, StorageError> {
    view.scan(SPACE, &keys::moves_of(shard))
        .map(|row| stored::migration::decode(&row?.1).ok_or_else(unreadable))
        .collect()
}

/// The last migration, under way or over; `None` if there never was one.
pub fn migration(view: &dyn View) -> Result<Option<Migration>, StorageError> {
    let Some(row) = view.get(SPACE, &keys::migration())? else { return Ok(None) };
    stored::migration::decode(&row).map(Some).ok_or_else(unreadable)
}

fn members(topology: &Topology, on: Epoch, change: &MemberChange) -> Decision {
    if on != topology.epoch {
        return Decision::Refuse(format!(
            "it was decided on epoch {on}, and {} is in force; look again",
            topology.epoch
        ));
    }
    match membership::carry_out(topology, change) {
        Ok((topology, what)) => Decision::Make { topology: topology.into(), what, radiant: RadiantId::NONE },
        Err(why) => Decision::Refuse(why),
    }
}

/// The configuration in force; `None` before the founding.
pub fn topology(view: &dyn View) -> Result<Option<Topology>, StorageError> {
    let Some(row) = view.get(SPACE, &keys::topology())? else { return Ok(None) };
    stored::decode_topology(&row).map(Some).ok_or_else(unreadable)
}

fn unreadable() -> StorageError {
    StorageError::Corrupt("the stored configuration is unreadable".into())
}
