//! For those who watch: is it alive, is it ready, how is the cluster, and the numbers.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Serialize;
use shardbearer_core::topology::Topology;
use shardbearer_proto::pb;

use super::Shared;
use super::answer::Failure;
use crate::gateway::NOT_INSIDE;
use crate::report::Status;
use crate::report::history::{Configuration, Epoch, Timeline};
use crate::report::migration::Migration;
use crate::telemetry::recorder;

/// Reasons that are listed; with a whole cluster down the rest says the same.
const REASONS_MAX: usize = 20;

#[derive(Serialize)]
pub(super) struct Ready {
    ready: bool,
    /// A sentence each.
    reasons: Vec<String>,
}

/// The process runs and answers.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// The radiant is in its cluster, and every shard has a herald.
pub(super) async fn ready(State(shared): State<Shared>) -> (StatusCode, Json<Ready>) {
    let reasons = match shared.entrance.get() {
        None => vec![NOT_INSIDE.to_owned()],
        Some(inside) => unserved(&inside.overview.status()),
    };
    let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Ready { ready: reasons.is_empty(), reasons }))
}

/// A sentence per shard that nobody serves.
fn unserved(status: &pb::StatusResponse) -> Vec<String> {
    let mut down = status.shards.iter().filter(|shard| shard.state != "serving");
    let mut reasons: Vec<String> = down
        .by_ref()
        .take(REASONS_MAX)
        .map(|shard| match shard.order {
            0 => format!("shard {} of table {} belongs to no order", shard.id, shard.table),
            order => format!("shard {} of table {}: order {order} has no herald", shard.id, shard.table),
        })
        .collect();
    match down.count() {
        0 => {}
        more => reasons.push(format!("and {more} more shards")),
    }
    reasons
}

/// Prometheus' text.
pub(super) async fn metrics() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], recorder::render())
}

/// The cluster as this radiant sees it.
pub(super) async fn status(State(shared): State<Shared>) -> Result<Json<Status>, Failure> {
    Ok(Json(shared.inside()?.overview.status().into()))
}

/// Every configuration, oldest first.
pub(super) async fn epochs(State(shared): State<Shared>) -> Result<Json<Vec<Epoch>>, Failure> {
    let epochs = shared.inside()?.overview.epochs().await?;
    Ok(Json(epochs.into_iter().map(Into::into).collect()))
}

/// One configuration of the past, whole.
pub(super) async fn epoch(
    State(shared): State<Shared>,
    Path(epoch): Path<String>,
) -> Result<Json<Configuration>, Failure> {
    let number = epoch.parse().map_err(|_| Failure::bad_request(format!("{epoch:?} is no epoch")))?;
    let found = shared.inside()?.overview.epoch_at(number).await?;
    let nowhere = || Failure::not_found(format!("there is no epoch {number}"));
    let (record, topology) = found.record.zip(found.topology).ok_or_else(nowhere)?;
    let topology = Topology::try_from(topology).map_err(|error| Failure::unavailable(error.to_string()))?;
    Ok(Json(Configuration::new(record.into(), &topology)))
}

/// The last migration, under way or over; `null` if there never was one.
pub(super) async fn migration(State(shared): State<Shared>) -> Result<Json<Option<Migration>>, Failure> {
    Ok(Json(shared.inside()?.overview.status().migration.map(Into::into)))
}

/// What happened, as all radiants remember it.
pub(super) async fn timeline(State(shared): State<Shared>) -> Result<Json<Timeline>, Failure> {
    let story = shared.inside()?.overview.timeline().await?;
    Ok(Json(story.into()))
}
