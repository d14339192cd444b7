//! A machine on which a radiant is started, crashed and stopped: what outlives the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use shardbearer::config::Config;
use shardbearer::engine::Engines;
use shardbearer::node::{self, NodeError, Running};
use shardbearer_core::engine::ConsensusEngine;
use shardbearer_core::ids::OrderId;
use shardbearer_core::membership::Standing;
use shardbearer_sim::disk::{Disk, Kept, Trouble};
use shardbearer_sim::net::Net;
use shardbearer_sim::world::{Clock, Life, Universe};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::doubles::BeaconLie;
use super::environment::{Virtual, VirtualLinks};

/// What the disks here say of themselves.
const ILL: [&str; 3] = ["the disk", "the sync failed", "a checksum does not match"];

/// An outage in which the others compact their logs.
const LONG_MS: u64 = 3_000;

/// One machine.
pub struct Machine {
    pub name: String,
    pub address: String,
    pub disk: Arc<Disk>,
    pub clock: Arc<Clock>,
    universe: Arc<Universe>,
    net: Arc<Net>,
    config: Config,
    engines: Engines,
    beacons: Option<BeaconLie>,
    starts: AtomicU64,
    failing: AtomicBool,
    /// When it crashed last, in milliseconds.
    crashed: AtomicU64,
    process: Mutex<Option<Process>>,
}

/// One start of the radiant.
struct Process {
    life: Arc<Life>,
    stop: CancellationToken,
    main: JoinHandle<()>,
    opened: mpsc::Receiver<Arc<Running>>,
    running: Option<Arc<Running>>,
    result: Arc<Mutex<Option<Result<(), NodeError>>>>,
    links: Arc<Mutex<Option<Arc<VirtualLinks>>>>,
    /// That it ended for its disk was counted.
    noted: bool,
}

impl Process {
    fn running(&mut self) -> Option<Arc<Running>> {
        if self.running.is_none() {
            self.running = self.opened.try_recv().ok();
        }
        self.running.clone()
    }

    /// Whether the radiant knows that it has left its cluster.
    fn is_gone(&mut self) -> bool {
        self.running().is_some_and(|running| {
            let topology = running.cluster.map.topology();
            topology.radiant(running.cluster.me).is_some_and(|radiant| radiant.standing == Standing::Gone)
        })
    }
}

/// What a radiant says that the cluster has sent away.
const LEFT: &str = "has left this cluster";

impl Machine {
    pub fn new(
        universe: &Arc<Universe>,
        net: &Arc<Net>,
        disk: Arc<Disk>,
        config: Config,
        engines: Engines,
        beacons: Option<BeaconLie>,
    ) -> Machine {
        Machine {
            name: config.radiant.name.clone(),
            address: config.listen.grpc.clone(),
            disk,
            clock: Arc::default(),
            universe: universe.clone(),
            net: net.clone(),
            config,
            engines,
            beacons,
            starts: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            crashed: AtomicU64::new(u64::MAX),
            process: Mutex::new(None),
        }
    }

    /// Starts the radiant, unless it runs.
    pub fn start(&self) {
        let mut process = self.process.lock();
        if process.is_some() {
            return;
        }
        if self.universe.now_ms().saturating_sub(self.crashed.load(Ordering::Relaxed)) >= LONG_MS {
            self.universe.trace.cover("long outage");
        }
        let start = self.starts.fetch_add(1, Ordering::Relaxed);
        self.universe.event(format_args!("{} starts for time {}", self.name, start + 1));
        let life = Life::begin(&self.universe, &format!("{}.{start}", self.name), &self.clock);
        life.stand_on(&self.disk);
        let links = Arc::default();
        let environment = Arc::new(Virtual {
            net: self.net.clone(),
            disk: self.disk.clone(),
            life: life.clone(),
            address: self.address.clone(),
            beacons: self.beacons,
            links: Arc::clone(&links),
        });
        let prepared = match node::prepare_in(environment, self.config.clone(), self.engines.clone()) {
            Ok(prepared) => prepared,
            Err(error) => return self.universe.trace.broken(format!("{} cannot start: {error}", self.name)),
        };
        let stop = CancellationToken::new();
        let (sender, opened) = mpsc::channel(1);
        let result = Arc::new(Mutex::new(None));
        let (ended, stopping) = (result.clone(), stop.clone());
        let main = life.main(async move {
            let how = prepared.run(stopping, sender, true).await;
            *ended.lock() = Some(how);
        });
        *process = Some(Process { life, stop, main, opened, running: None, result, links, noted: false });
    }

    /// The running radiant and its life, if it serves.
    pub fn running(&self) -> Option<(Arc<Running>, Arc<Life>)> {
        let mut process = self.process.lock();
        let process = process.as_mut()?;
        let running = process.running()?;
        if process.result.lock().is_some() || process.life.is_dead() {
            return None;
        }
        Some((running, process.life.clone()))
    }

    /// The engines of the orders, the control order among them, of which it is a member; none unless it serves.
    pub fn engines(&self) -> Vec<(OrderId, Arc<dyn ConsensusEngine>)> {
        let Some((running, _)) = self.running() else { return Vec::new() };
        let cluster = &running.cluster;
        let orders = cluster.orders.all().into_iter().map(|order| (order.id(), order.engine().clone()));
        let control = cluster.control().into_iter().map(|seat| (OrderId::CONTROL, seat.engine.clone()));
        orders.chain(control).collect()
    }

    /// Says what is wrong if the radiant ended by itself, and neither for a failing disk, of which it then speaks, nor because it
    /// has left. One that was sent away before it heard that it had been let in hears of both at once.
    pub fn check(&self) -> Result<(), String> {
        let mut process = self.process.lock();
        let Some(process) = process.as_mut() else { return Ok(()) };
        let result = process.result.clone();
        match result.lock().as_ref() {
            Some(Err(error)) if error.to_string().contains(LEFT) => Ok(()),
            Some(Err(error)) if !self.is_ill() => Err(format!("{} ended: {error}", self.name)),
            Some(Err(error)) if !ILL.iter().any(|words| error.to_string().contains(words)) => {
                Err(format!("{} ended, and does not say that it is for its disk: {error}", self.name))
            }
            Some(Err(_)) if !std::mem::replace(&mut process.noted, true) => {
                self.universe.trace.cover("ended for its disk");
                Ok(())
            }
            Some(Ok(())) if !process.stop.is_cancelled() && !process.is_gone() => {
                Err(format!("{} ended by itself", self.name))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the radiant ended since it has left its cluster.
    pub fn has_left(&self) -> bool {
        let mut process = self.process.lock();
        let told = |process: &Process| {
            process
                .result
                .lock()
                .as_ref()
                .is_some_and(|how| how.as_ref().is_err_and(|error| error.to_string().contains(LEFT)))
        };
        let ended = |process: &mut Process| process.result.lock().is_some() && process.is_gone();
        process.as_mut().is_some_and(|process| told(process) || ended(process))
    }

    /// Empties the disk of a radiant that has left, and starts another one there.
    pub async fn renew(&self) {
        self.crash().await;
        // Otherwise somebody started it meanwhile: it learns again that it has left.
        if self.process.lock().is_none() {
            self.disk.wipe();
            std::fs::remove_dir_all(&self.config.radiant.data_dir).expect("it was there");
            self.start();
        }
    }

    /// Kills the radiant, if it runs; the disk forgets what was not synced.
    pub async fn crash(&self) {
        let process = self.process.lock().take();
        let Some(process) = process else { return };
        self.universe.event(format_args!("{} crashes", self.name));
        self.crashed.store(self.universe.now_ms(), Ordering::Relaxed);
        if process.running.is_none() && process.opened.is_empty() && self.starts.load(Ordering::Relaxed) == 1
        {
            self.universe.trace.cover("crash during the founding");
        }
        process.life.kill();
        self.bury(process).await;
    }

    /// Stops the radiant in an orderly way.
    pub async fn stop(&self) {
        let process = self.process.lock().take();
        let Some(mut process) = process else { return };
        self.universe.event(format_args!("{} stops", self.name));
        process.stop.cancel();
        process.running = None;
        let ended = tokio::time::timeout(std::time::Duration::from_secs(30), &mut process.main).await;
        if ended.is_err() {
            self.universe.trace.broken(format!("{} does not stop within 30 s", self.name));
        }
        process.life.kill();
        self.bury(process).await;
    }

    async fn bury(&self, process: Process) {
        self.net.detach(&self.address);
        let Process { life, main, running, opened, links, .. } = process;
        drop((running, opened));
        if !main.is_finished() {
            main.abort();
            // Cancelled is what it should be.
            let _ = main.await;
        }
        life.end().await;
        let links = links.lock().take();
        if let Some(links) = links {
            shardbearer::transport::Links::close(links.as_ref());
        }
        self.disk.crash();
        self.failing.store(false, Ordering::Relaxed);
    }

    /// Makes the disk fail; the radiant may end.
    pub fn fail(&self, trouble: Trouble) {
        self.universe.event(format_args!("{}: the disk fails: {trouble:?}", self.name));
        self.failing.store(true, Ordering::Relaxed);
        self.disk.set_trouble(trouble);
    }

    /// Turns a bit in what is kept; the radiant may end, and not start again.
    pub fn turn(&self, kept: Kept) {
        self.failing.store(self.disk.turn(kept), Ordering::Relaxed);
    }

    /// Whether the disk does not do what it should.
    fn is_ill(&self) -> bool {
        self.failing.load(Ordering::Relaxed) || self.disk.is_ill()
    }

    /// Stops or continues giving the radiant the processor.
    pub fn pause(&self, paused: bool) {
        self.universe.event(format_args!("{} paused: {paused}", self.name));
        if let Some(process) = self.process.lock().as_ref() {
            process.life.pause(paused);
        }
    }
}
