//! What a radiant stands on: world, network, disks, doors. The machine it runs on is [`Machine`]; a simulation
//! brings its own, so that what is simulated is this assembly and not a copy of it.
//!
//! Not here: the radiant's identity and the images it receives. Those are files in its data directory, always
//! synced before anything follows from them.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use shardbearer_core::engine::EngineLimits;
use shardbearer_core::ids::{ClusterId, RadiantId};
use shardbearer_core::log::LogStore;
use shardbearer_core::storage::StorageEngine;
use shardbearer_core::topology::Doors;
use shardbearer_core::transport::Inbound;
use shardbearer_core::world::World;
use tokio_util::sync::CancellationToken;

use super::doors::{Listeners, Served};
use super::home;
use crate::bootstrap::{Beacons, GrpcBeacons};
use crate::config::Config;
use crate::gateway::Entrance;
use crate::storage::log::LogOptions;
use crate::storage::{self, ballast};
use crate::transport::{GrpcTransport, Links, Membership, PeerService, Stranger};
use crate::world::Real;

/// Everything a radiant needs of the place where it runs.
#[async_trait]
pub trait Environment: Send + Sync {
    /// Time, randomness, tasks.
    fn world(&self) -> World;

    /// Ends all tasks of the world and returns when they are gone.
    async fn end(&self);

    /// Takes the addresses on which the radiant will be reached, or says which one cannot be had and why.
    fn bind(&self, config: &Config) -> Result<Box<dyn Front>, String>;

    /// The way to radiants of which only an address is known.
    fn beacons(&self) -> Arc<dyn Beacons>;

    /// The way to the radiants of a cluster. Frames to `me` go to `inbound`.
    fn transport(
        &self,
        config: &Config,
        cluster: ClusterId,
        me: RadiantId,
        inbound: Arc<dyn Inbound>,
    ) -> Arc<dyn Links>;

    /// Opens and verifies log and data, each in its folder. May block for the disk.
    fn open(&self, config: &Config, log: &Path, data: &Path) -> Result<Stores, String>;

    /// Free bytes of the file system that holds a folder, if that can be told.
    fn disk_free(&self, folder: &Path) -> Option<u64>;

    /// Bounds for the orders' engines.
    fn engine_limits(&self) -> EngineLimits {
        EngineLimits::default()
    }
}

/// The side of a radiant that others reach, not open yet.
pub trait Front: Send {
    /// What others are told.
    fn advertised(&self) -> &Doors;

    /// Opens it until the reception's `stop`.
    fn serve(self: Box<Self>, config: &Config, reception: Reception) -> Served;
}

/// Who receives what comes in.
pub struct Reception {
    /// Clients; nobody is let in before it is set.
    pub entrance: Entrance,
    /// Members of the cluster; set once there is one.
    pub membership: Arc<OnceLock<Membership>>,
    /// All others.
    pub stranger: Arc<dyn Stranger>,
    /// When it closes.
    pub stop: CancellationToken,
}

/// An open log and open data.
pub struct Stores {
    /// The log of all orders.
    pub log: Arc<dyn LogStore>,
    /// Their data.
    pub storage: Arc<dyn StorageEngine>,
    /// Writes what waits and ends what works for the log. May block for the disk.
    pub close: Box<dyn Fn() + Send + Sync>,
}

/// The machine that the process runs on.
pub struct Machine {
    world: World,
    real: Arc<Real>,
}

impl Machine {
    /// A world that begins now.
    pub fn create() -> Arc<Machine> {
        let (world, real) = Real::create();
        Arc::new(Machine { world, real })
    }
}

#[async_trait]
impl Environment for Machine {
    fn world(&self) -> World {
        self.world.clone()
    }

    async fn end(&self) {
        self.real.end().await;
    }

    fn bind(&self, config: &Config) -> Result<Box<dyn Front>, String> {
        let listeners = Listeners::bind(config)?;
        Ok(Box::new(Sockets { listeners, world: self.world.clone() }))
    }

    fn beacons(&self) -> Arc<dyn Beacons> {
        Arc::new(GrpcBeacons::default())
    }

    fn transport(
        &self,
        config: &Config,
        cluster: ClusterId,
        me: RadiantId,
        inbound: Arc<dyn Inbound>,
    ) -> Arc<dyn Links> {
        let election_ms = config.consensus.election_timeout_ms;
        GrpcTransport::new(cluster, me, election_ms, inbound, self.world.clone())
    }

    fn open(&self, config: &Config, log: &Path, data: &Path) -> Result<Stores, String> {
        let options = LogOptions {
            segment_bytes: config.storage.log_segment_mib << 20,
            cache_bytes: usize::try_from(config.storage.log_cache_mib << 20).unwrap_or(usize::MAX),
            keep_free_bytes: ballast::kept_bytes(config.storage.reserve_mib << 20),
            ..LogOptions::default()
        };
        let log = home::open_log(log, options)?;
        let (cache, reserve) = (config.storage.cache_mib << 20, config.storage.reserve_mib << 20);
        if reserve == 0 {
            ballast::give_up(&config.radiant.data_dir);
        }
        let storage = storage::open_with_reserve(&config.storage.engine, data, cache, reserve);
        let storage = storage.map_err(|error| error.to_string())?;
        let closing = log.clone();
        Ok(Stores { log, storage, close: Box::new(move || closing.close()) })
    }

    fn disk_free(&self, folder: &Path) -> Option<u64> {
        ballast::free_bytes(folder)
    }
}

/// Bound sockets.
struct Sockets {
    listeners: Listeners,
    world: World,
}

impl Front for Sockets {
    fn advertised(&self) -> &Doors {
        self.listeners.advertised()
    }

    fn serve(self: Box<Self>, config: &Config, reception: Reception) -> Served {
        let Reception { entrance, membership, stranger, stop } = reception;
        let peers = PeerService::new(membership, stranger, self.world.clone(), stop.clone());
        self.listeners.serve(config, entrance, peers, &self.world, stop)
    }
}
