//! The assembly of a radiant: the one place that names concrete types and puts them together.
//!
//! ```text
//!   prepare: lock the data directory, bind the doors        (what is wrong with the machine is said here)
//!   run:     bootstrap ──▶ founded │ rejoined │ joined
//!            open log, data, orders ──▶ entrance open        (from here on it serves)
//!            until told to stop, or until an engine failed
//!            hand leads over ──▶ close doors, orders, links, log
//! ```
//!
//! - [`doors`]: listeners and advertised addresses
//! - [`environment`]: what a radiant stands on: the machine, or a simulation of one
//! - [`founding`]: the first configuration as this radiant would have it
//! - [`home`]: log and data of the radiant
//! - [`inbound`]: frames of peers to whom they concern; strangers
//! - [`join`]: finding the radiant's place, and being welcomed by a cluster that exists
//! - [`members`]: making an order's members those of the configuration
//! - [`seats`]: opening and closing the orders in which this radiant has a seat
//! - [`stop`]: the orderly end
//! - [`tend`]: what a radiant does for each of its orders all the time

pub mod doors;
pub mod environment;
mod founding;
mod home;
mod inbound;
mod join;
mod members;
mod seats;
mod stop;
mod tend;

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use shardbearer_core::ids::ClusterId;
use shardbearer_core::topology::Doors;
use shardbearer_core::world::World;
use shardbearer_proto::convert;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::environment::{Environment, Front, Machine, Reception};
use self::home::Home;
use self::inbound::{Dispatch, Strangers};
use crate::bootstrap::{self, Beacons, Bootstrap, BootstrapError, Identity, IdentityError};
use crate::cluster::{self, Cluster, Differences, addresses, control, pulse, scherald};
use crate::config::Config;
use crate::door::DataDoor;
use crate::engine::Engines;
use crate::gateway::{Entrance, Inside};
use crate::kv::Door;
use crate::leads::Leads;
use crate::map::Map;
use crate::migrate;
use crate::order::registry::Registry;
use crate::router::Router;
use crate::sessions::Sessions;
use crate::story::Story;
use crate::transport::{Links, Membership};
use crate::watch;

/// Why a radiant does not run, or runs no longer. Each is a sentence for the operator.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The data directory.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A door.
    #[error("{0}")]
    Door(String),
    /// The search for a cluster.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// The cluster does not take this radiant.
    #[error("cluster {cluster} does not take this radiant: {why}")]
    NotWelcome {
        /// The cluster.
        cluster: ClusterId,
        /// What it says.
        why: String,
    },
    /// Log or data cannot be opened.
    #[error("{0}")]
    Home(String),
    /// Something that cannot be survived happened while it ran; what was acknowledged is safe.
    #[error("{0}; the radiant stops so that nothing is made worse")]
    Failed(String),
}

/// A radiant that has its data directory and its doors, and nothing else yet.
pub struct Prepared {
    config: Config,
    engines: Engines,
    identity: Arc<Identity>,
    front: Box<dyn Front>,
    environment: Arc<dyn Environment>,
}

/// What a running radiant is made of, for those who watch or stop it.
pub struct Running {
    /// Its view of the cluster.
    pub cluster: Arc<Cluster>,
    /// Its door for data.
    pub door: Arc<dyn Door>,
}

/// Locks the data directory and binds the doors, so that what is wrong with them is said at once.
pub fn prepare(config: Config, engines: Engines) -> Result<Prepared, NodeError> {
    prepare_in(Machine::create(), config, engines)
}

/// [`prepare`] somewhere else than on the machine of this process.
pub fn prepare_in(
    environment: Arc<dyn Environment>,
    config: Config,
    engines: Engines,
) -> Result<Prepared, NodeError> {
    let world = environment.world();
    let identity = Arc::new(Identity::open(&config.radiant.data_dir, &config.radiant.name, &world)?);
    let front = environment.bind(&config).map_err(NodeError::Door)?;
    Ok(Prepared { config, engines, identity, front, environment })
}

impl Prepared {
    /// The name, for people.
    pub fn name(&self) -> &str {
        &self.config.radiant.name
    }

    /// Where it is reached.
    pub fn doors(&self) -> &Doors {
        self.front.advertised()
    }

    /// Runs until `stop`, or until something fails. `opened` gets the radiant once it serves. With
    /// `gently` it gives its leads to others before it goes.
    pub async fn run(
        self,
        stop: CancellationToken,
        opened: mpsc::Sender<Arc<Running>>,
        gently: bool,
    ) -> Result<(), NodeError> {
        let environment = self.environment.clone();
        // The doors stop with this token, after the leads were handed over.
        let serving = CancellationToken::new();
        let result = self.live(&stop, &serving, opened, gently).await;
        serving.cancel();
        environment.end().await;
        result
    }

    async fn live(
        self,
        stop: &CancellationToken,
        serving: &CancellationToken,
        opened: mpsc::Sender<Arc<Running>>,
        gently: bool,
    ) -> Result<(), NodeError> {
        let Prepared { config, engines, identity, front, environment } = self;
        let world = environment.world();
        let doors = front.advertised().clone();
        let beacons = environment.beacons();
        let (shutdown, shutting_down) = watch::channel(false);
        let bootstrap = Bootstrap::start(
            bootstrap::Context {
                identity: identity.clone(),
                doors: doors.clone(),
                neighbors: config.bootstrap.neighbors.clone(),
                expect: config.bootstrap.expect,
                window: Duration::from_millis(config.bootstrap.window_ms),
                world: world.clone(),
                beacons: beacons.clone(),
                found: founding::founding(&config, &engines, &world),
                encode: convert::topology_to_bytes,
                decode: |raw| convert::topology_from_bytes(raw).ok(),
            },
            shutting_down,
        )?;
        let entrance = Entrance::default();
        let strangers = Arc::new(Strangers::new(bootstrap.clone()));
        let membership = Arc::default();
        let reception = Reception {
            entrance: entrance.clone(),
            membership: Arc::clone(&membership),
            stranger: strangers.clone(),
            stop: serving.clone(),
        };
        let served = front.serve(&config, reception);

        let life = Life {
            config,
            engines,
            identity,
            doors,
            world,
            environment,
            beacons,
            bootstrap,
            entrance,
            strangers,
            membership,
        };
        let (inside, result) = match life.enter(stop).await {
            Ok(Some(mut inside)) => {
                // Nobody may be interested.
                let _ = opened.send(inside.running.clone()).await;
                let result = inside.stay(stop, gently).await;
                (Some(inside), result)
            }
            Ok(None) => (None, Ok(())),
            Err(error) => (None, Err(error)),
        };
        serving.cancel();
        served.wait().await;
        if let Some(inside) = inside {
            inside.close().await;
        }
        // The bootstrap task ends with its sender.
        drop(shutdown);
        result
    }
}

/// A radiant on its way into its cluster.
struct Life {
    config: Config,
    engines: Engines,
    identity: Arc<Identity>,
    doors: Doors,
    world: World,
    environment: Arc<dyn Environment>,
    beacons: Arc<dyn Beacons>,
    bootstrap: Bootstrap,
    entrance: Entrance,
    strangers: Arc<Strangers>,
    membership: Arc<OnceLock<Membership>>,
}

/// A radiant in its cluster.
struct Resident {
    running: Arc<Running>,
    home: Arc<Home>,
    dispatch: Arc<Dispatch>,
    failure: mpsc::Receiver<String>,
}

impl Life {
    /// Finds the cluster, opens what is kept, starts everything; `None` if told to stop meanwhile.
    async fn enter(self, stop: &CancellationToken) -> Result<Option<Resident>, NodeError> {
        let Life { config, engines, identity, doors, world, environment, .. } = self;
        let Life { beacons, bootstrap, entrance, strangers, membership, .. } = self;
        let folders = Home::create(&config, identity.cluster()?.is_some())?;
        let (me, topology, fresh) = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(None),
            found = join::find_cluster(&bootstrap, &identity, &doors, &world, beacons.as_ref()) => found?,
        };
        let home = Arc::new(folders.open(environment.clone(), &config).await?);
        let map = Arc::new(Map::new(topology.clone()).map_err(NodeError::Home)?);
        let leads = Arc::new(Leads::of(me));
        let orders = Arc::new(Registry::default());
        let migrations = Arc::new(migrate::Known::default());
        let dispatch = Arc::new(Dispatch::default());
        let transport: Arc<dyn Links> =
            environment.transport(&config, topology.cluster, me, dispatch.clone());
        transport.set_peers(&addresses(&topology));
        // From here on peers may call; what is not there yet is declined, and asked again.
        let cluster_id = topology.cluster;
        let _ = membership.set(Membership {
            cluster: cluster_id,
            me,
            election_ms: config.consensus.election_timeout_ms,
            inbound: dispatch.clone(),
        });

        let limits = environment.engine_limits();
        let data_dir = config.radiant.data_dir.clone();
        let cluster = Arc::new(Cluster {
            me,
            name: config.radiant.name.clone(),
            incarnation: identity.incarnation(),
            doors,
            map: map.clone(),
            leads: leads.clone(),
            orders: orders.clone(),
            control: ArcSwapOption::empty(),
            membership: scherald::Settings::new(&config, &engines),
            blockers: parking_lot::Mutex::default(),
            differences: Differences::default(),
            audits: cluster::audit::Audits::default(),
            peers: cluster::peers::Peers::default(),
            reaching: parking_lot::Mutex::default(),
            log: home.stores.log.clone(),
            transport: transport.clone(),
            bootstrap,
            world: world.clone(),
            disk_free: Box::new(move || environment.disk_free(&data_dir)),
            disk_full: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            left: CancellationToken::new(),
            data_bytes: AtomicU64::new(0),
            started_ns: world.monotonic_ns(),
            migrations: migrations.clone(),
            beginning: tokio::sync::Semaphore::new(1),
            story: Story::new(me, world.clone()),
            hurry: tokio::sync::Notify::new(),
            news: tokio::sync::Notify::new(),
        });
        cluster.leave_if_gone();
        cluster.story.epoch(topology.epoch);
        cluster.story.started(env!("CARGO_PKG_VERSION"));
        let (failed, failure) = mpsc::channel(1);
        let seats = seats::Seats {
            cluster: cluster.clone(),
            config: config.clone(),
            engines,
            home: home.clone(),
            limits,
            dispatch: dispatch.clone(),
            failed,
        };
        seats.settle(&topology).await.map_err(NodeError::Home)?;
        let router = Arc::new(Router::new(me, map, leads, orders, migrations, transport));
        dispatch.connect(cluster.clone(), router.clone());
        strangers.connect(cluster.clone());

        world.spawn("migrations-here", migrate::drive_all(cluster.clone(), router.clone()));
        world.spawn("migrations-away", migrate::attend_all(cluster.clone()));
        world.spawn("addresses", cluster.clone().follow_moves());
        world.spawn("pulse", pulse::send(cluster.clone()));
        world.spawn("disk", pulse::watch_disk(cluster.clone(), config.storage.reserve_mib << 20));
        let period = Duration::from_secs(config.storage.audit_seconds);
        world.spawn("audits", cluster::audit::run(cluster.clone(), period));
        world.spawn("sizes", home::measure(cluster.clone(), home.clone()));
        world.spawn("introduction", control::introduce(cluster.clone()));
        world.spawn("seats", seats.follow());
        if fresh {
            seats::campaign(&cluster).await;
        }

        let door = DataDoor::new(router, Sessions::new(&world), config.limits.value_bytes_max);
        let door: Arc<dyn Door> = Arc::new(door);
        // Set once, here, for the life of the radiant.
        let _ = entrance.set(Inside { door: door.clone(), overview: cluster.clone() });
        tracing::info!(cluster = %cluster_id, radiant = %me, "serving");
        let running = Arc::new(Running { cluster, door });
        Ok(Some(Resident { running, home, dispatch, failure }))
    }
}

impl Resident {
    /// Until told to stop, or until something fails.
    async fn stay(&mut self, stop: &CancellationToken, gently: bool) -> Result<(), NodeError> {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.running.cluster.left.cancelled() => {
                tracing::info!(
                    "this radiant has left cluster {}, which goes on without it: it stops; its data directory is of no \
                     more use",
                    self.running.cluster.map.topology().cluster
                );
            }
            Some(why) = self.failure.recv() => return Err(NodeError::Failed(why)),
        }
        if gently {
            stop::hand_leads_over(&self.running.cluster).await;
        }
        Ok(())
    }

    async fn close(self) {
        stop::close(&self.running.cluster, self.home).await;
        self.dispatch.close();
    }
}
