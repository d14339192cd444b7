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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use shardbearer_core::limits;
use shardbearer_core::world::World;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::clients::{Client, Clients};
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

/// How long the commands under way may take once the door closes. Clients that wait longer cannot know what became of
/// theirs, and learn so from the closed connection.
const GRACE: Duration = Duration::from_secs(2);

/// How long a connection stays open once the door closes, for a command that is on its way: a refusal says more than a
/// closed connection.
const LAST_CALL: Duration = Duration::from_millis(500);

/// Accepts connections and serves them until the shutdown. What is under way then is answered, what comes then is
/// refused, and each connection ends when its client has been told, or has nothing to ask.
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
        closing: AtomicBool::new(false),
        started_ms,
    });
    let house = House { gateway, shutdown, cut: CancellationToken::new(), connections: TaskTracker::new() };
    // Whoever drops this future ends all connections at once.
    let _cut_when_dropped = house.cut.clone().drop_guard();
    house.receive(&listener).await;
    house.gateway.closing.store(true, Ordering::Relaxed);
    // Who is connected already without knowing it is told as well; whoever comes later finds nobody listening.
    while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
        house.admit(stream);
    }
    drop(listener);
    house.connections.close();
    if tokio::time::timeout(GRACE, house.connections.wait()).await.is_err() {
        tracing::info!("Redis commands under way were cut off after {GRACE:?}");
    }
}

/// What connections are admitted with.
struct House {
    gateway: Arc<Gateway>,
    shutdown: CancellationToken,
    /// Ends connections where they are.
    cut: CancellationToken,
    connections: TaskTracker,
}

impl House {
    /// Until the shutdown.
    async fn receive(&self, listener: &TcpListener) {
        loop {
            let accepted = match self.shutdown.run_until_cancelled(listener.accept()).await {
                None => return,
                Some(accepted) => accepted,
            };
            match accepted {
                Ok((stream, _)) => self.admit(stream),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a Redis connection; trying again");
                    let pause = tokio::time::sleep(ACCEPT_PAUSE);
                    if self.shutdown.run_until_cancelled(pause).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// Starts the connection's task, unless there are too many.
    fn admit(&self, stream: TcpStream) {
        let gateway = &self.gateway;
        // A connection that is gone already has no addresses.
        let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return };
        let end = self.cut.child_token();
        let most = gateway.options.connections_max;
        let Some(entry) = gateway.clients.enter(most, (peer, local), end.clone(), gateway.now_ms()) else {
            return turn_away(stream);
        };
        if let Err(error) = listen::tune(&stream) {
            tracing::debug!(%error, %peer, "cannot set the options of a connection");
        }
        let session = Session::new(gateway.clone(), entry.client.clone());
        let (shutdown, counted) = (self.shutdown.clone(), self.connections.token());
        gateway.world.spawn("resp connection", async move {
            let served = tokio::select! {
                biased;
                () = end.cancelled() => None,
                served = Connection::new(stream, session).run() => Some(served),
                () = last_call(&shutdown, &entry.client) => None,
            };
            if let Some(Err(error)) = served {
                tracing::debug!(%error, %peer, "Redis connection broke");
            }
            drop((entry, counted));
        });
    }
}

/// Returns some time after the shutdown, when the client waits for nothing.
async fn last_call(shutdown: &CancellationToken, client: &Client) {
    const LOOK: Duration = Duration::from_millis(10);
    shutdown.cancelled().await;
    tokio::time::sleep(LAST_CALL).await;
    while client.busy.load(Ordering::Relaxed) {
        tokio::time::sleep(LOOK).await;
    }
}

/// Says why, without waiting: the socket of a fresh connection has room for a line.
fn turn_away(stream: TcpStream) {
    if let Ok(mut stream) = stream.into_std() {
        // The client may be gone; then there is nobody to tell.
        let _ = stream.write_all(b"-ERR max number of clients reached\r\n");
    }
}
