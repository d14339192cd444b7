//! Migrations in the control order: their record, their changes, and what operators ask of them.

use std::time::Duration;

use shardbearer_core::control::{Change, ControlCommand, ControlReply};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::Epoch;
use shardbearer_core::migration::{Migration, MigrationChange};
use shardbearer_proto::pb;
use shardbearer_proto::pb::{control_request, control_response, move_request};

use super::{Cluster, control};

/// For a change or a look; heralds try again, operators are told.
const DEADLINE: Duration = Duration::from_secs(3);

/// The last migration, as the control order has it; an error is a sentence.
pub async fn record(cluster: &Cluster) -> Result<Option<Migration>, String> {
    let kind = control_request::Kind::Migration(pb::MigrationRequest {});
    match control::ask(cluster, kind, DEADLINE).await {
        Ok(control_response::Kind::Migration(pb::MigrationResponse { migration })) => {
            let record = migration.map(Migration::try_from).transpose().map_err(|error| error.to_string())?;
            if let Some(record) = &record {
                cluster.learn_migration(record.clone());
            }
            Ok(record)
        }
        Ok(_) => Err(control::odd().to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Proposes a change; answers the epoch of the control order, or a sentence.
pub async fn change(
    cluster: &Cluster,
    change: MigrationChange,
    who: String,
    why: String,
) -> Result<Epoch, String> {
    let at_ms = cluster.world.wall_ms();
    let command = ControlCommand { who, why, at_ms, change: Change::Migration(change) };
    let kind = control_request::Kind::Command((&command).into());
    match control::ask(cluster, kind, DEADLINE).await {
        Ok(control_response::Kind::Reply(reply)) => match ControlReply::try_from(reply) {
            Ok(ControlReply::Changed { epoch, .. }) => Ok(epoch),
            Ok(ControlReply::Refused(why)) => Err(why),
            Err(error) => Err(error.to_string()),
        },
        Ok(_) => Err(control::odd().to_string()),
        Err(error) => Err(error.to_string()),
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
        Kind::Undo(_) => MigrationChange::Undo,
        Kind::Pause(id) => MigrationChange::Pause { id: named(cluster, id).await?, paused: true },
        Kind::Resume(id) => MigrationChange::Pause { id: named(cluster, id).await?, paused: false },
        Kind::Cancel(id) => MigrationChange::Cancel { id: named(cluster, id).await? },
    };
    let refused = change(cluster, asked, who, why).await.err().unwrap_or_default();
    let migration = latest(cluster).await?;
    Ok(pb::MoveResponse { migration: migration.as_ref().map(Into::into), refused })
}

/// The migration that is meant: 0 is the last.
async fn named(cluster: &Cluster, id: u64) -> Result<Epoch, RequestError> {
    match id {
        0 => Ok(latest(cluster).await?.map_or(Epoch::NONE, |record| record.id)),
        id => Ok(Epoch(id)),
    }
}

async fn latest(cluster: &Cluster) -> Result<Option<Migration>, RequestError> {
    record(cluster).await.map_err(|why| Refused::Unavailable(why).into())
}
