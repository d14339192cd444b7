//! How a radiant gets from its data directory to its cluster: the driver of the bootstrap machine.
//!
//! What to say and whether to found is decided in [`shardbearer_state::bootstrap`]; here are the disk,
//! the network and the clock. A task owns the machine: it is fed by a ticker, by the answers to calls and by
//! [`Bootstrap::receive`], and carries out what the machine says in the order it says it, so that
//! everything is stored before it is sent. The task goes on when the radiant is in its cluster, so
//! that others find the cluster through it.
//!
//! ```text
//!   gRPC Peer.Beacon ─▶ receive ──┐ inbox            ┌─▶ identity files (synced)
//!                      run, belongs ├──▶ task: machine ├─▶ Beacons ─▶ other radiants ─┐
//!                          ticker ──┘     ▲            └─▶ log, outcome              │
//!                                         └──────────────── answers ────────────────┘
//! ```
//!
//! Not here: joining (the control order welcomes a radiant) and what a founding configuration holds.

mod beacons;
mod files;
mod identity;
mod task;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shardbearer_core::bootstrap::{Founder, Founding};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{ClusterId, Incarnation, RadiantId};
use shardbearer_core::membership::Standing;
use shardbearer_core::topology::{Doors, Topology};
use shardbearer_core::world::World;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

pub use beacons::{Beacons, GrpcBeacons};
pub use identity::{Identity, IdentityError, StoredCluster};
use task::{Letter, Task};

use crate::watch;

/// Letters that may wait for the task; more are refused, and beacons are repeated anyway.
const INBOX_MAX: usize = 256;
/// How long a question may wait for its answer: some syncs of a slow disk.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// Makes up a founding configuration of radiants, ascending by name.
pub type FoundTopology = dyn Fn(ClusterId, &[Founder]) -> Topology + Send + Sync;

/// All that bootstrap needs.
pub struct Context {
    /// The data directory.
    pub identity: Arc<Identity>,
    /// Where others reach this radiant.
    pub doors: Doors,
    /// Addresses to begin with; this radiant's own may be among them.
    pub neighbors: Vec<String>,
    /// How many radiants found a cluster.
    pub expect: u32,
    /// When the operator is told what is missing.
    pub window: Duration,
    /// Clock, randomness, tasks.
    pub world: World,
    /// The way to other radiants.
    pub beacons: Arc<dyn Beacons>,
    /// The founding configuration.
    pub found: Arc<FoundTopology>,
    /// How a configuration is written.
    pub encode: fn(&Topology) -> Bytes,
    /// And read; `None` if the bytes are none.
    pub decode: fn(Bytes) -> Option<Topology>,
}

/// How the search for a cluster ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The cluster was founded just now, with this radiant in it. It is stored.
    Founded {
        /// This radiant.
        radiant: RadiantId,
        /// The first configuration.
        topology: Topology,
    },
    /// There is a cluster; ask it to be welcomed, then call [`Bootstrap::belongs`].
    Join {
        /// The cluster.
        cluster: ClusterId,
        /// gRPC addresses of members, the best first.
        via: Vec<String>,
    },
    /// The data directory knew the cluster already. That does not say that the radiant ever did more than
    /// store it: it may have stopped right after the founding, with all logs still empty.
    Rejoin {
        /// This radiant.
        radiant: RadiantId,
        /// The last known configuration.
        topology: Topology,
    },
}

/// Why the search ended without a cluster.
#[derive(Debug, Error)]
pub enum BootstrapError {
    /// The data directory failed. What could not be stored was not said to anybody; restart.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No cluster can take this radiant as it is. A sentence that says what to do.
    #[error("{0}")]
    NotAsItIs(String),
    /// The radiant is closing.
    #[error("closing")]
    Closed,
}

/// A handle to the task; clones are the same one.
#[derive(Clone)]
pub struct Bootstrap {
    inbox: mpsc::Sender<Letter>,
    moves: Arc<watch::Sender<Moves>>,
}

/// Members that answered elsewhere than the configuration says.
pub type Moves = BTreeMap<Incarnation, Move>;

/// Where a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Its gRPC door.
    pub address: String,
    /// Where the configuration had it at that time.
    pub instead_of: String,
}

impl Bootstrap {
    /// Reads what the directory remembers and starts the task, which ends when `shutdown` becomes true
    /// or its sender is dropped. Beacons are answered from here on.
    pub fn start(context: Context, shutdown: watch::Receiver<bool>) -> Result<Bootstrap, BootstrapError> {
        let world = context.world.clone();
        let (inbox, letters) = mpsc::channel(INBOX_MAX);
        let moves = Arc::new(watch::Sender::new(Moves::new()));
        let task = Task::new(context, letters, moves.clone())?;
        world.spawn("bootstrap", task.run(shutdown));
        Ok(Bootstrap { inbox, moves })
    }

    /// Members that moved, as they are found.
    pub fn moves(&self) -> watch::Receiver<Moves> {
        self.moves.subscribe()
    }

    /// Looks for the cluster until it is found; problems are logged meanwhile. Once more after a join
    /// that came to nothing.
    pub async fn run(&self) -> Result<Outcome, BootstrapError> {
        let (answer, outcome) = oneshot::channel();
        self.inbox.send(Letter::Seek(answer)).await.map_err(|_| BootstrapError::Closed)?;
        outcome.await.map_err(|_| BootstrapError::Closed)?
    }

    /// Answers a beacon.
    pub async fn receive(&self, body: Bytes) -> Result<Bytes, RequestError> {
        let (answer, answered) = oneshot::channel();
        self.inbox.try_send(Letter::Asked(body, answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refused::Busy("too many beacons".into()),
            mpsc::error::TrySendError::Closed(_) => Refused::Closed,
        })?;
        match timeout(ANSWER_DEADLINE, answered).await {
            Ok(Ok(answer)) => answer.map_err(RequestError::from),
            Ok(Err(_)) => Err(RequestError::Unknown("closing".into())),
            Err(_) => Err(RequestError::Unknown("the disk is slow".into())),
        }
    }

    /// This radiant is a member of the cluster with this configuration: after a join, and after every change.
    /// It is stored when this returns, and told to whoever asks. Older configurations are left alone.
    pub async fn belongs(&self, topology: &Topology) -> Result<(), BootstrapError> {
        let (answer, stored) = oneshot::channel();
        let letter = Letter::Belongs(Box::new(topology.clone()), answer);
        self.inbox.send(letter).await.map_err(|_| BootstrapError::Closed)?;
        stored.await.map_err(|_| BootstrapError::Closed)?
    }
}

/// A configuration as it is told to other radiants. Who has left is none of its members: its name is free again.
fn founding_of(topology: &Topology, encoded: Bytes) -> Founding {
    let here = topology.radiants.iter().filter(|radiant| radiant.standing != Standing::Gone);
    let members = here.map(|radiant| Founder {
        name: radiant.name.clone(),
        incarnation: radiant.incarnation,
        doors: radiant.doors.clone(),
    });
    Founding { cluster: topology.cluster, members: members.collect(), topology: encoded }
}
