//! A virtual cluster: machines on a network, and what must hold of them at every moment.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng;
use shardbearer::config::Config;
use shardbearer_core::ids::OrderId;
use shardbearer_sim::chaos::{Act, Fault, PROFILES, Profile};
use shardbearer_sim::disk::Disk;
use shardbearer_sim::history::History;
use shardbearer_sim::net::Net;
use shardbearer_sim::recorder::Recorder;
use shardbearer_sim::world::Universe;

use super::doubles::Defects;
use super::machine::Machine;
use super::mixes::{MIXES, Mix};
use super::{invariants, observer};

/// Of the clusters of seeds.
pub const RADIANTS: usize = 5;
pub const SHARDS: usize = 8;
/// Seats of every order, if nothing else is said.
pub const REPLICATION: usize = 3;

/// What a cluster is made of.
#[derive(Clone)]
pub struct Shape {
    pub radiants: usize,
    /// How many of them found it. The others are spares.
    pub founders: usize,
    /// Seats of every order.
    pub replication: usize,
    /// Data orders that it is founded with.
    pub orders: usize,
    /// Data orders that there ever are.
    pub orders_ever: usize,
    pub shards: usize,
    pub mix: &'static Mix,
    pub profile: &'static Profile,
    pub defects: Defects,
    /// How often the invariants are looked at.
    pub look: Duration,
    /// Of clients, one in how many is lost on its way, if any.
    pub lost_answers: Option<u64>,
    /// What else is different from the defaults.
    pub settings: fn(&mut Config),
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            radiants: RADIANTS,
            founders: RADIANTS,
            replication: REPLICATION,
            orders: 3,
            orders_ever: 3,
            shards: SHARDS,
            mix: &MIXES[0],
            profile: &PROFILES[0],
            defects: Defects::default(),
            look: Duration::from_millis(10),
            lost_answers: None,
            settings: |_| {},
        }
    }
}

/// The cluster of a run.
pub struct Cluster {
    shape: Shape,
    pub universe: Arc<Universe>,
    pub net: Arc<Net>,
    pub machines: Vec<Machine>,
    /// What clients saw, for the judge that goes by revisions.
    pub history: History,
    /// The same and more, for the exact oracle.
    pub recorder: Recorder,
    /// Answers that came to clients, and those that were lost.
    answers: AtomicU64,
    /// Machines that are damaged.
    damaged: Mutex<BTreeSet<usize>>,
    /// Whether all wall clocks are right, so that expiries mean the same everywhere.
    pub clocks_agree: bool,
}

/// A recorder on virtual time. Of two events of one instant the second is later: all runs on one thread.
fn recorder(universe: &Arc<Universe>) -> Recorder {
    let (universe, last) = (universe.clone(), AtomicU64::new(0));
    Recorder::new(move || {
        let now = universe.now_ns().max(last.load(Ordering::Relaxed) + 1);
        last.store(now, Ordering::Relaxed);
        now
    })
}

/// How often each radiant reads all that it stores.
const AUDIT_SECONDS: u64 = 5;

/// Makes what a radiant waits for by its configuration as much shorter as its clock runs too fast. All tasks wait on one virtual clock,
/// which cannot be bent for some of them: what they wait for can. Times that are written in the program stay as they are.
fn bend_timers(config: &mut Config, drift_ppm: i64) {
    let bent = |ms: &mut u64| {
        let real = i128::from(*ms) * 1_000_000 / i128::from(1_000_000 + drift_ppm);
        *ms = u64::try_from(real).expect("clocks drift by less than they run");
    };
    bent(&mut config.bootstrap.window_ms);
    bent(&mut config.consensus.heartbeat_ms);
    bent(&mut config.consensus.election_timeout_ms);
    bent(&mut config.membership.suspicion_ms);
    bent(&mut config.membership.down_grace_ms);
    bent(&mut config.rebalance.settle_ms);
    bent(&mut config.rebalance.cool_down_ms);
}

impl Cluster {
    pub fn new(universe: Arc<Universe>, shape: &Shape, folder: &Path) -> Arc<Cluster> {
        let Shape { radiants, profile, mix, defects, .. } = *shape;
        let net = Net::new(&universe, profile.weather);
        let mut rng = universe.rng("machines");
        let address = |number: usize| format!("10.0.0.{number}:7400");
        let name = |number: usize| format!("r{number}");
        let disks: Arc<[Arc<Disk>]> =
            (0..radiants).map(|number| Disk::new(&universe, &name(number), defects.disk)).collect();
        let shared = Arc::default();
        let machines = (0..radiants).map(|number| {
            let mut config = Config::default();
            config.radiant.name = name(number);
            config.radiant.data_dir = folder.join(&config.radiant.name);
            config.listen.grpc = address(number);
            config.bootstrap.neighbors = vec![address(0), address((number + 1) % radiants)];
            config.bootstrap.expect = shape.founders as u32;
            config.bootstrap.replication = shape.replication;
            config.bootstrap.orders = shape.orders;
            config.bootstrap.shards = shape.shards;
            config.consensus.engine = mix.control.into();
            config.consensus.engines = mix.data.iter().map(|name| (*name).to_owned()).collect();
            config.storage.audit_seconds = AUDIT_SECONDS;
            (shape.settings)(&mut config);
            let drift = rng.random_range(-profile.drift_ppm..=profile.drift_ppm);
            bend_timers(&mut config, drift);
            let disk = disks[number].clone();
            let engines = observer::engines(&universe, &disks, &disk, &shared, &defects);
            let machine = Machine::new(&universe, &net, disk, config, engines, defects.beacons);
            machine.clock.drift_ppm.store(drift, std::sync::atomic::Ordering::Relaxed);
            if drift != 0 {
                universe.trace.cover("clock that drifts");
            }
            machine
        });
        let machines = machines.collect();
        Arc::new(Cluster {
            shape: shape.clone(),
            universe: universe.clone(),
            net,
            machines,
            history: History::default(),
            recorder: recorder(&universe),
            answers: AtomicU64::new(0),
            damaged: Mutex::default(),
            clocks_agree: profile.drift_ppm == 0 && !profile.faults.contains(&Fault::Jump),
        })
    }

    /// All orders that there ever are.
    pub fn orders(&self) -> impl Iterator<Item = OrderId> + use<> {
        std::iter::once(OrderId::CONTROL).chain(self.data_orders())
    }

    /// Those of data.
    pub fn data_orders(&self) -> impl Iterator<Item = OrderId> + use<> {
        (2..2 + self.shape.orders_ever as u64).map(OrderId)
    }

    /// Whether the answer that has just come to a client is one of those that are lost on their way.
    pub fn loses_answer(&self) -> bool {
        let number = self.answers.fetch_add(1, Ordering::Relaxed) + 1;
        let lost = self.shape.lost_answers.is_some_and(|each| number.is_multiple_of(each));
        if lost {
            self.universe.trace.cover("answer to a client lost");
        }
        lost
    }

    /// Does what a plan says.
    pub async fn perform(&self, act: Act) {
        self.universe.event(format_args!("{act:?}"));
        if let Some(damage) = act.damage() {
            self.universe.trace.cover(damage);
        }
        self.count_damaged(act);
        let addresses =
            |one: usize, other: usize| (&self.machines[one].address, &self.machines[other].address);
        let ways = |one: usize, cut: bool, says: bool, hears: bool| {
            for other in (0..self.machines.len()).filter(|other| *other != one) {
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
            Act::Start(one) | Act::Restart(one) => {
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
                for other in (0..self.machines.len()).filter(|other| *other != one) {
                    let (from, to) = addresses(one, other);
                    self.net.clog(from, to, Duration::from_millis(time_ms));
                }
            }
            Act::ClogWay(from, to, time_ms) => {
                let (from, to) = addresses(from, to);
                self.net.clog(from, to, Duration::from_millis(time_ms));
            }
            Act::Jump(one, by_ms) => {
                let clock = &self.machines[one].clock.wall_ms;
                clock.store(by_ms, std::sync::atomic::Ordering::Relaxed);
            }
            Act::Pace(one, pace) => self.machines[one].disk.set_pace(pace),
            Act::PaceData(one, ms_max) => self.machines[one].disk.set_data_pace(ms_max),
            Act::Fail(one, trouble) => self.machines[one].fail(trouble),
            Act::Turn(one, kept) => self.machines[one].turn(kept),
            Act::Aim(one, point, spared) => self.machines[one].disk.aim(point, spared),
            Act::Mend(one) => self.machines[one].disk.mend(),
            Act::Fill(one, full) => self.machines[one].disk.set_full(full),
            Act::Weather(weather) => self.net.set_weather(weather),
        }
    }

    fn count_damaged(&self, act: Act) {
        let Some((one, begins)) = act.damaged() else { return };
        let mut damaged = self.damaged.lock();
        if !begins {
            damaged.remove(&one);
        } else if damaged.insert(one) {
            match damaged.len() {
                2 => self.universe.trace.cover("two damaged at once"),
                count if count == self.machines.len() => self.universe.trace.cover("all damaged at once"),
                _ => (),
            }
        }
    }

    /// Looks at the invariants until one is broken.
    pub async fn watch(&self) {
        let mut invariants = invariants::all(self.shape.defects.watched);
        loop {
            let broken = invariants.iter_mut().find_map(|invariant| invariant.look(self).err());
            if let Some(why) = broken {
                self.universe.trace.broken(why);
                return;
            }
            tokio::time::sleep(self.shape.look).await;
        }
    }
}
