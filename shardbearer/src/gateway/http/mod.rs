//! The HTTP door: keys as resources, the cluster as JSON, health, metrics.
//!
//! - `keys`: keys as resources, at `/v1/tables/{table}/keys/{key}`
//! - `condition`: what `If-Match` and `If-None-Match` ask
//! - `watch`: `/healthz`, `/readyz`, `/metrics`, `/v1/status`, `/v1/epochs`, `/v1/migration`, `/v1/timeline`
//! - `answer`: errors as JSON, and which status says what
//! - `server`: connections and their limits
//!
//! HTTP/1.1 only: who wants many requests over one connection has gRPC.

mod answer;
mod condition;
pub(crate) mod fuzz;
mod keys;
mod server;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::routing::get;
use shardbearer_core::world::World;

use self::answer::Failure;
pub use self::server::{Settings, serve};
use super::{Entrance, Inside, NOT_INSIDE};
use crate::telemetry::meter::Meter;

/// What every handler sees.
#[derive(Clone)]
struct Shared {
    entrance: Entrance,
    meter: Arc<Meter>,
    world: World,
    value_bytes_max: usize,
}

impl Shared {
    fn inside(&self) -> Result<&Inside, Failure> {
        self.entrance.get().ok_or_else(|| Failure::unavailable(NOT_INSIDE))
    }
}

fn routes(shared: Shared) -> Router {
    Router::new()
        .route("/healthz", get(watch::alive))
        .route("/readyz", get(watch::ready))
        .route("/metrics", get(watch::metrics))
        .route("/v1/status", get(watch::status))
        .route("/v1/epochs", get(watch::epochs))
        .route("/v1/epochs/{epoch}", get(watch::epoch))
        .route("/v1/migration", get(watch::migration))
        .route("/v1/timeline", get(watch::timeline))
        .route(
            "/v1/tables/{table}/keys/{key}",
            get(keys::get).head(keys::head).put(keys::put).delete(keys::delete),
        )
        .fallback(nowhere)
        .method_not_allowed_fallback(not_so)
        .with_state(shared)
}

async fn nowhere(uri: Uri) -> Failure {
    Failure::not_found(format!(
        "there is nothing at {}; see /v1/status or /v1/tables/TABLE/keys/KEY",
        uri.path()
    ))
}

async fn not_so(method: Method, uri: Uri) -> Failure {
    Failure::method_not_allowed(format!("{method} is not possible at {}", uri.path()))
}
