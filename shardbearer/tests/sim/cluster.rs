//! A virtual cluster: machines on a network, and what must hold of them at every moment.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rand::Rng;
use shardbearer::config::Config;
use shardbearer_core::ids::{ClusterId, OrderId, RadiantId};
use shardbearer_core::storage::Space;
use shardbearer_sim::chaos::{Act, Profile};
use shardbearer_sim::disk::Disk;
use shardbearer_sim::history::History;
use shardbearer_sim::net::Net;
use shardbearer_sim::world::Universe;

use super::doubles::Defects;
use super::machine::Machine;

/// Of every virtual cluster.
pub const RADIANTS: usize = 5;
const ORDERS: usize = 3;
pub const SHARDS: usize = 8;

/// How often the invariants are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The cluster of a run.
pub struct Cluster {
    pub universe: Arc<Universe>,
    pub net: Arc<Net>,
    pub machines: Vec<Machine>,
    pub history: History,
    seen: Mutex<Sightings>,
}

/// What was seen so far, for what may be seen only once.
#[derive(Default)]
struct Sightings {
    clusters: BTreeMap<ClusterId, String>,
    heralds: BTreeMap<(OrderId, u64), RadiantId>,
}

/// An order's rows with a position, for those that stand there.
type Standing = BTreeMap<Bytes, (String, u64)>;

impl Cluster {
    pub fn new(universe: Arc<Universe>, profile: &Profile, folder: &Path, defects: &Defects) -> Arc<Cluster> {
        let net = Net::new(&universe, profile.weather);
        let mut rng = universe.rng("machines");
        let address = |number: usize| format!("10.0.0.{number}:7400");
        let machines = (0..RADIANTS).map(|number| {
            let mut config = Config::default();
            config.radiant.name = format!("r{number}");
            config.radiant.data_dir = folder.join(&config.radiant.name);
            config.listen.grpc = address(number);
            config.bootstrap.neighbors = vec![address(0), address((number + 1) % RADIANTS)];
            config.bootstrap.expect = RADIANTS as u32;
            config.bootstrap.orders = ORDERS;
            config.bootstrap.shards = SHARDS;
            let disk = Disk::new(&universe, &config.radiant.name, defects.disk);
            let machine = Machine::new(&universe, &net, disk, config, (defects.engines)(), defects.agreeable);
            let drift = rng.random_range(-profile.drift_ppm..=profile.drift_ppm);
            machine.clock.drift_ppm.store(drift, std::sync::atomic::Ordering::Relaxed);
            machine
        });
        let machines = machines.collect();
        Arc::new(Cluster {
            universe: universe.clone(),
            net,
            machines,
            history: History::default(),
            seen: Mutex::default(),
        })
    }

    /// Does what a plan says.
    pub async fn perform(&self, act: Act) {
        self.universe.event(format_args!("{act:?}"));
        let addresses =
            |one: usize, other: usize| (&self.machines[one].address, &self.machines[other].address);
        let ways = |one: usize, cut: bool, says: bool, hears: bool| {
            for other in (0..RADIANTS).filter(|other| *other != one) {
                let (from, to) = addresses(one, other);
                if says {
                    self.net.cut(from, to, cut);
                }
                if hears {
                    self.net.cut(to, from, cut);
                }
            }
        };
        match act {
            Act::Crash(one) => self.machines[one].crash().await,
            Act::Stop(one) => self.machines[one].stop().await,
            Act::Start(one) => {
                // After a failed disk the process is to be cleared away first.
                self.machines[one].crash().await;
                self.machines[one].start();
            }
            Act::Pause(one, paused) => self.machines[one].pause(paused),
            Act::Isolate(one, cut) => ways(one, cut, true, true),
            Act::Mute(one, says, cut) => ways(one, cut, says, !says),
            Act::Part(one, other, cut) => {
                let (from, to) = addresses(one, other);
                self.net.cut(from, to, cut);
                self.net.cut(to, from, cut);
            }
            Act::Clog(one, time_ms) => {
                for other in (0..RADIANTS).filter(|other| *other != one) {
                    let (from, to) = addresses(one, other);
                    self.net.clog(from, to, Duration::from_millis(time_ms));
                }
            }
            Act::Jump(one, by_ms) => {
                let clock = &self.machines[one].clock.wall_ms;
                clock.store(by_ms, std::sync::atomic::Ordering::Relaxed);
            }
            Act::Pace(one, pace) => self.machines[one].disk.set_pace(pace),
            Act::Fail(one) => self.machines[one].fail(),
            Act::Fill(one, full) => self.machines[one].disk.set_full(full),
            Act::Weather(weather) => self.net.set_weather(weather),
        }
    }

    /// Looks at the invariants until one is broken.
    pub async fn watch(&self) {
        loop {
            if let Err(why) = self.look() {
                self.universe.trace.broken(why);
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn look(&self) -> Result<(), String> {
        let mut seen = self.seen.lock();
        for machine in &self.machines {
            machine.check()?;
            let Some((running, _)) = machine.running() else { continue };
            let cluster = &running.cluster;
            seen.clusters.insert(cluster.map.topology().cluster, machine.name.clone());
            if seen.clusters.len() > 1 {
                return Err(format!("two clusters were founded: {:?}", seen.clusters));
            }
            let engines = cluster.orders.all().into_iter().map(|order| (order.id(), order.engine().status()));
            let control = cluster.control().into_iter().map(|seat| (OrderId::CONTROL, seat.engine.status()));
            for (order, status) in engines.chain(control).filter(|(_, status)| status.leading) {
                let known = seen.heralds.insert((order, status.term), cluster.me);
                if known.is_none() {
                    self.universe.trace.cover("lead taken");
                    let (name, term) = (&machine.name, status.term);
                    self.universe.event(format_args!("{name} leads order {order} in term {term}"));
                }
                if let Some(other) = known.filter(|other| *other != cluster.me) {
                    let term = status.term;
                    return Err(format!(
                        "order {order} has two heralds in term {term}: {other} and {}",
                        cluster.me
                    ));
                }
            }
        }
        self.same_position_same_rows().map(drop)
    }

    /// Replicas that applied the same position hold the same rows. Returns how many positions each order stands at.
    pub fn same_position_same_rows(&self) -> Result<BTreeMap<OrderId, usize>, String> {
        let orders = (1..=ORDERS as u64 + 1).map(OrderId);
        let mut positions = BTreeMap::new();
        for order in orders {
            let mut standing = Standing::new();
            for machine in &self.machines {
                let Some((position, rows)) = self.rows(machine, order) else { continue };
                if let Some((other, expected)) = standing.insert(position, (machine.name.clone(), rows))
                    && expected != rows
                {
                    let why =
                        format!("order {order}: {other} and {} applied the same and differ", machine.name);
                    return Err(why);
                }
            }
            positions.insert(order, standing.len());
        }
        Ok(positions)
    }

    /// The applied position of an order on a machine, and a digest of its rows; `None` where it has none.
    fn rows(&self, machine: &Machine, order: OrderId) -> Option<(Bytes, u64)> {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let spaces = machine.disk.rows_of(order);
        let mut position = None;
        let mut digest = DefaultHasher::new();
        for (space, rows) in &spaces {
            for (key, value) in rows.iter() {
                // The applier's own rows, see `order/applier.rs`: of them only the position is the same everywhere.
                match (space, key.as_ref()) {
                    (Space::Order(_), b"\xffapplied") => position = Some(value.clone()),
                    (Space::Order(_), [0xff, ..]) => {}
                    _ => (space, key, value).hash(&mut digest),
                }
            }
        }
        Some((position?, digest.finish()))
    }
}
