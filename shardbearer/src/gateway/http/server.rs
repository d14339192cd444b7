//! Connections of the HTTP door and their limits.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use shardbearer_core::limits;
use shardbearer_core::world::World;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Shared, routes};
use crate::gateway::Entrance;
use crate::gateway::listen::{Door, Guarded};
use crate::telemetry::meter::Meter;

/// How long a connection may take to send its next headers, also when it is idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Headers of one request.
pub(super) const HEADERS_MAX: usize = 64;

/// Bytes of one request's line and headers: the longest key in percent-encoding, and headers.
pub(super) const HEAD_BYTES_MAX: usize = 32 << 10;

/// What may be chosen.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This radiant's name, as a label of metrics.
    pub radiant: String,
    /// Connections at once.
    pub connections_max: usize,
    /// Longest value, as the door has it.
    pub value_bytes_max: usize,
    /// How long requests under way may take to end once the door closes.
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            radiant: String::new(),
            connections_max: 1_024,
            value_bytes_max: limits::VALUE_BYTES_MAX,
            grace: Duration::from_secs(2),
        }
    }
}

/// Serves until `closing` is cancelled and what was under way has ended or the grace is over. Dropping this
/// future ends all connections at once.
pub async fn serve(
    listener: TcpListener,
    entrance: Entrance,
    settings: Settings,
    world: World,
    closing: CancellationToken,
) {
    let meter = Arc::new(Meter::new(&settings.radiant, "http", world.clone()));
    let router =
        routes(Shared { entrance, meter: meter.clone(), world, value_bytes_max: settings.value_bytes_max });
    let door = Door::new(listener, settings.connections_max, None, meter, CancellationToken::new());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = closing.cancelled() => break,
            Some(_) = connections.join_next() => {}
            stream = door.accept() => {
                connections.spawn(connection(stream, router.clone(), closing.clone()));
            }
        }
    }
    // New connections are refused from here on, not left waiting.
    drop(door);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(settings.grace, ended).await.is_err() {
        tracing::info!("HTTP requests under way were cut off after {:?}", settings.grace);
    }
}

fn connection(stream: Guarded, router: Router, closing: CancellationToken) -> impl Future<Output = ()> {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    async move {
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!("an HTTP connection ended: {error}");
        }
    }
}
