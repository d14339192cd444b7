//! Migrations in the control order: their record, their changes, and what operators ask of them.

use std::time::Duration;

use shardbearer_core::control::{Change, ControlCommand, ControlReply};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::Epoch;
use shardbearer_core::migration::{Migration, MigrationChange, Split};
use shardbearer_proto::pb;
use shardbearer_proto::pb::{control_request, control_response, move_request};
use thiserror::Error;

use super::{Cluster, control, splits};

/// For a change or a look; heralds try again, operators are told.
const DEADLINE: Duration = Duration::from_secs(3);

/// Why a change is not made, as far as known.
#[derive(Debug, Error)]
pub enum Failed {
    /// The control order does not take it; a sentence.
    #[error("{0}")]
    Refused(String),
    /// It did not answer.
    #[error(transparent)]
    Unanswered(#[from] RequestError),
}

/// The last migration, as the control order has it.
pub async fn record(cluster: &Cluster) -> Result<Option<Migration>, RequestError> {
    let kind = control_request::Kind::Migration(pb::MigrationRequest {});
    match control::ask(cluster, kind, DEADLINE).await? {
        control_response::Kind::Migration(pb::MigrationResponse { migration }) => {
            let record = migration.map(Migration::try_from).transpose();
            let record = record.map_err(|error| Refused::Unavailable(error.to_string()))?;
            if let Some(record) = &record {
                cluster.learn_migration(record.clone());
            }
            Ok(record)
        }
        _ => Err(control::odd()),
    }
}

/// Proposes a change; answers the epoch of the control order.
pub async fn change(
    cluster: &Cluster,
    change: MigrationChange,
    who: String,
    why: String,
) -> Result<Epoch, Failed> {
    let at_ms = cluster.world.wall_ms();
    let command = ControlCommand { who, why, at_ms, change: Change::Migration(change) };
    let kind = control_request::Kind::Command((&command).into());
    // An answer that is not understood may be that it is done.
    let strange = |why: String| Failed::Unanswered(RequestError::Unknown(why));
    match control::ask(cluster, kind, DEADLINE).await? {
        control_response::Kind::Reply(reply) => match ControlReply::try_from(reply) {
            Ok(ControlReply::Changed { epoch, .. }) => Ok(epoch),
            Ok(ControlReply::Refused(why)) => Err(Failed::Refused(why)),
            Err(error) => Err(strange(error.to_string())),
        },
        _ => Err(strange(control::odd().to_string())),
    }
}

/// Carries out what an operator asks. What the control order refuses is an answer, not an error.
pub(super) async fn operate(
    cluster: &Cluster,
    request: pb::MoveRequest,
) -> Result<pb::MoveResponse, RequestError> {
    use move_request::Kind;
    let missing = || RequestError::from(Refused::Invalid("the request names nothing to do".into()));
    let kind = request.kind.ok_or_else(missing)?;
    let who = if request.who.is_empty() { "operator".into() } else { request.who };
    let why = if request.why.is_empty() { "asked for".into() } else { request.why };
    let asked = match kind {
        Kind::Plan(plan) => MigrationChange::Plan { shard: plan.shard.into(), to: plan.to.into() },
        // So is where and where to, by which a split that is asked for again is known.
        Kind::Split(split) => {
            let decided = splits::decide(cluster, &split).map_err(Refused::Invalid)?;
            let splits::Decided { split, to } = decided;
            MigrationChange::Split { split, to }
        }
        // Named here, once: an attempt that nobody answered must not be repeated upon what it has begun.
        Kind::Undo(_) => MigrationChange::Undo { id: named(cluster, 0).await? },
        Kind::UndoOf(id) => MigrationChange::Undo { id: named(cluster, id).await? },
        Kind::Pause(id) => MigrationChange::Pause { id: named(cluster, id).await?, paused: true },
        Kind::Resume(id) => MigrationChange::Pause { id: named(cluster, id).await?, paused: false },
        Kind::Cancel(id) => MigrationChange::Cancel { id: named(cluster, id).await? },
    };
    // Without a name it might be the way back that is undone, or the next half that is split off.
    let again = match &asked {
        MigrationChange::Undo { id } => Some(format!("`shard undo {id}`")),
        MigrationChange::Split { split: Split { parent, at }, to } => {
            Some(format!("`shard split {parent} --at {at} --to {to}`"))
        }
        _ => None,
    };
    let refused = match change(cluster, asked, who, why).await {
        Ok(_) => String::new(),
        Err(Failed::Refused(why)) => why,
        Err(Failed::Unanswered(error)) => {
            return Err(match (error, again) {
                (RequestError::Unknown(why), Some(again)) => {
                    RequestError::Unknown(format!("{why}; {again} asks for the same again"))
                }
                (error, _) => error,
            });
        }
    };
    let migration = match record(cluster).await {
        Ok(migration) => migration,
        Err(error) if refused.is_empty() => {
            return Err(RequestError::Unknown(format!(
                "it was decided, but how it goes is not known: {error}"
            )));
        }
        Err(_) => None,
    };
    Ok(pb::MoveResponse { migration: migration.as_ref().map(Into::into), refused })
}

/// The migration that is meant: 0 is the last.
async fn named(cluster: &Cluster, id: u64) -> Result<Epoch, RequestError> {
    match id {
        0 => Ok(record(cluster).await?.map_or(Epoch::NONE, |record| record.id)),
        id => Ok(Epoch(id)),
    }
}
