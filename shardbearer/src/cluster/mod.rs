//! A radiant's view of its cluster, and how that view is kept: pulses, the configuration, the
//! control order.
//!
//! - [`peers`]: who was heard when, and what they said
//! - [`pulse`]: saying and hearing it, a few times a second
//! - [`control`]: the control order: requests to it, and what the scherald does
//! - [`status`]: all of it in words for people
//!
//! Nothing here decides about data: a wrong view makes requests slow, never wrong.

pub mod control;
pub mod peers;
pub mod pulse;
pub mod status;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use shardbearer_core::ids::{Incarnation, RadiantId};
use shardbearer_core::topology::{Doors, Topology};
use shardbearer_core::world::World;
use tokio::sync::Notify;

use self::control::ControlSeat;
use self::peers::Peers;
use crate::leads::Leads;
use crate::map::Map;
use crate::order::registry::Registry;
use crate::transport::GrpcTransport;

/// What is done with a configuration that was learnt, besides using it.
pub type Learnt = Box<dyn Fn(&Topology) -> Result<(), String> + Send + Sync>;

/// Everything a radiant knows of its cluster.
pub struct Cluster {
    /// This radiant.
    pub me: RadiantId,
    /// Its name.
    pub name: String,
    /// Of its data directory.
    pub incarnation: Incarnation,
    /// Where it says that it can be reached.
    pub doors: Doors,
    /// The configuration.
    pub map: Arc<Map>,
    /// Who leads what.
    pub leads: Arc<Leads>,
    /// The local data orders.
    pub orders: Arc<Registry>,
    /// The local seat of the control order, if there is one.
    pub control: Option<ControlSeat>,
    /// Who was heard.
    pub peers: Peers,
    /// To the others.
    pub transport: Arc<GrpcTransport>,
    /// Time, randomness, tasks.
    pub world: World,
    /// The data directory, for its free space.
    pub data_dir: PathBuf,
    /// Whether less space is left than is kept in reserve.
    pub disk_full: AtomicBool,
    /// Bytes of data and log on disk, as last measured.
    pub data_bytes: AtomicU64,
    /// When the radiant started (monotonic, ns).
    pub started_ns: u64,
    /// Wakes the pulse before its time: a lead changed.
    pub hurry: Notify,
    /// Stores what was learnt.
    pub learnt: Learnt,
}

impl Cluster {
    /// Takes over a configuration if it is newer: first durably, then in use.
    pub fn advance(&self, topology: Topology) -> Result<(), String> {
        if topology.epoch <= self.map.epoch() {
            return Ok(());
        }
        (self.learnt)(&topology)?;
        self.transport.set_peers(&addresses(&topology));
        let epoch = topology.epoch;
        if self.map.advance(topology)? {
            tracing::info!(%epoch, "configuration");
            self.hurry.notify_one();
        }
        Ok(())
    }
}

/// Where the radiants of a configuration are reached.
pub fn addresses(topology: &Topology) -> BTreeMap<RadiantId, String> {
    topology.radiants.iter().map(|radiant| (radiant.id, radiant.doors.grpc.clone())).collect()
}
