//! Redis' protocol: RESP2 and RESP3 over TCP, so that every Redis client is a client of Shardbearer.
//!
//! ```text
//!   bytes -> frame -> commands (table) -> plan -> pipeline -> Door   reads, writes, counters
//!                              |-> session, clients                what concerns the connection
//!                              |-> transaction                     MULTI ... EXEC: one batch
//!                              |-> whole, scan, cluster            what concerns many shards
//!   bytes <- reply <-----------'
//! ```
//!
//! Reading order: [`frame`], [`commands`], [`plan`], [`pipeline`], [`connection`]. Every reply and every error text
//! is Redis' own wherever Redis has one. Any radiant answers for any key; a client that asks for the map of slots
//! is taken to know the cluster, and from then on is sent with `MOVED` to the radiant that leads.
//!
//! Not here: anything but strings, publish and subscribe, scripts, blocking commands, users.

pub mod args;
pub mod clients;
pub mod cluster;
pub mod commands;
pub mod connection;
pub mod failure;
pub mod frame;
pub(crate) mod fuzz;
pub mod glob;
pub mod inline;
pub mod pipeline;
pub mod plan;
pub mod reply;
pub mod scan;
pub mod session;
#[cfg(test)]
mod tests;
pub mod transaction;
pub mod whole;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use shardbearer_core::limits;
use shardbearer_core::world::World;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use self::clients::Clients;
use self::connection::Connection;
use self::scan::Cursors;
use self::session::{Gateway, Session};
use crate::gateway::{Entrance, listen};

/// How long to wait before accepting again after that failed, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What may be chosen about the gateway.
#[derive(Clone, Debug)]
pub struct Options {
    /// The table that clients see as database 0.
    pub table: String,
    /// Connections at once; more are turned away.
    pub connections_max: usize,
    /// Bytes of all arguments of one command; a larger one is an error of its own, and the connection lives on.
    pub command_bytes_max: usize,
    /// Longest value, as the door has it.
    pub value_bytes_max: usize,
    /// How long a command may take.
    pub deadline: Duration,
    /// How long the rest of a command may be outstanding, and answers may stay unread, while nothing moves to speak of.
    /// A client that is silent between commands may be so for ever, as with Redis.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            table: "default".into(),
            // As many as Redis lets in.
            connections_max: 10_000,
            // The longest value there can be and some more, within a message between radiants.
            command_bytes_max: 12 << 20,
            value_bytes_max: limits::VALUE_BYTES_MAX,
            deadline: Duration::from_millis(limits::REQUEST_MS_DEFAULT),
            // Nobody types a command for longer.
            patience: Duration::from_secs(60),
        }
    }
}

/// Accepts connections and serves them until the shutdown. Connections then end where they are; a client that is
/// waiting for a reply cannot know what became of its command, and learns so from the closed connection.
pub async fn serve(
    listener: TcpListener,
    entrance: Entrance,
    world: World,
    options: Options,
    shutdown: CancellationToken,
) {
    let started_ms = world.monotonic_ns() / 1_000_000;
    let gateway = Arc::new(Gateway {
        entrance,
        cursors: Cursors::new(&world),
        world,
        options,
        clients: Arc::new(Clients::default()),
        commands: AtomicU64::new(0),
        started_ms,
    });
    loop {
        let accepted = match shutdown.run_until_cancelled(listener.accept()).await {
            None => return,
            Some(accepted) => accepted,
        };
        match accepted {
            Ok((stream, _)) => admit(&gateway, stream, &shutdown),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a Redis connection; trying again");
                if shutdown.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await.is_none() {
                    return;
                }
            }
        }
    }
}

/// Starts the connection's task, unless there are too many.
fn admit(gateway: &Arc<Gateway>, stream: TcpStream, shutdown: &CancellationToken) {
    // A connection that is gone already has no addresses.
    let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return };
    let end = shutdown.child_token();
    let most = gateway.options.connections_max;
    let Some(entry) = gateway.clients.enter(most, (peer, local), end.clone(), gateway.now_ms()) else {
        return turn_away(stream);
    };
    if let Err(error) = listen::tune(&stream) {
        tracing::debug!(%error, %peer, "cannot set the options of a connection");
    }
    let session = Session::new(gateway.clone(), entry.client.clone());
    gateway.world.spawn("resp connection", async move {
        let served = end.run_until_cancelled(Connection::new(stream, session).run()).await;
        if let Some(Err(error)) = served {
            tracing::debug!(%error, %peer, "Redis connection broke");
        }
        drop(entry);
    });
}

/// Says why, without waiting: the socket of a fresh connection has room for a line.
fn turn_away(stream: TcpStream) {
    if let Ok(mut stream) = stream.into_std() {
        // The client may be gone; then there is nobody to tell.
        let _ = stream.write_all(b"-ERR max number of clients reached\r\n");
    }
}
