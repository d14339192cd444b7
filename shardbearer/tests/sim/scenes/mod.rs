//! Scenarios by name: a cluster to which exactly that happens what the name of the test says, in virtual time. What must
//! hold at every moment and of every answer is watched as in the runs of seeds.

mod asks;
mod control_away;
mod dead;
mod lab;
mod load;
mod members;
mod orders;
mod scherald;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use shardbearer::gateway::Overview as _;
use shardbearer::node::Running;
use shardbearer_core::ids::Epoch;
use shardbearer_core::topology::Topology;
use shardbearer_sim::net::Message;
use shardbearer_sim::world::{Clock, Life, Universe, block_on};

use super::cluster::{Cluster, Shape};
use super::machine::Machine;
use super::mixes::mix_told;
use super::{environment, run};

/// Of virtual time, for anything that should happen at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster on the stage.
#[derive(Clone)]
pub struct Scene {
    cluster: Arc<Cluster>,
    /// Of clients, who outlive radiants.
    life: Arc<Life>,
    /// How many clients there were, so that each has a number of its own.
    clients: Arc<AtomicUsize>,
}

/// Founds a cluster, has everything happen to it, heals it, and judges. Scenes that name no engines take those of `SIM_MIX`.
pub fn play<F: Future<Output = ()>>(seed: u64, shape: &Shape, happens: impl FnOnce(Scene) -> F) {
    let told = (shape.mix.name == Shape::default().mix.name).then(mix_told).flatten();
    let shape = &Shape { mix: told.unwrap_or(shape.mix), ..*shape };
    let folder = run::folder();
    block_on(async {
        let universe = Universe::new(seed);
        let cluster = Cluster::new(universe.clone(), shape, folder.path());
        let life = Life::begin(&universe, "stage", &Arc::new(Clock::default()));
        let watched = cluster.clone();
        life.spawn("watch", async move { watched.watch().await });
        let scene = Scene { cluster: cluster.clone(), life, clients: Arc::default() };
        let tail = TailOfAFailure(scene.clone());
        let (founders, spares) = cluster.machines.split_at(shape.founders);
        founders.iter().for_each(Machine::start);
        for number in 0..shape.founders {
            scene.life.spawn("early", scene.clone().asks_early(number));
        }
        let serve = |machines: &[Machine]| machines.iter().all(|machine| machine.running().is_some());
        scene.eventually("the founders serve", || serve(founders)).await;
        spares.iter().for_each(Machine::start);
        scene.eventually("the spares serve", || serve(spares)).await;
        scene.eventually("all is well", || scene.all(is_well)).await;
        scene.calm(0).await;
        happens(scene.clone()).await;
        scene.cluster.net.heal();
        let same = scene.eventually("all replicas are the same", || run::converged(&cluster));
        if tokio::time::timeout(PATIENCE / 2, same).await.is_err() {
            panic!("in the end: {}", run::what_is_missing(&cluster));
        }
        scene.life.kill();
        scene.life.end().await;
        run::judge(&cluster).unwrap_or_else(|why| panic!("{why}"));
        drop(tail);
        for machine in &cluster.machines {
            machine.crash().await;
        }
        cluster.net.end().await;
    });
}

/// Shows the last events if the test fails.
struct TailOfAFailure(Scene);

impl Drop for TailOfAFailure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.0.cluster.universe.trace.tail());
        }
    }
}

impl Scene {
    /// Who asks a radiant for the past as soon as it serves is told of the founding, or that nobody knows yet.
    async fn asks_early(self, number: usize) {
        loop {
            if let Some((running, _)) = self.machine(number).running()
                && let Ok(epochs) = running.cluster.epochs().await
            {
                if epochs.is_empty() {
                    self.cluster.universe.trace.broken(format!("r{number} knows of no epoch"));
                }
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn machine(&self, number: usize) -> &Machine {
        &self.cluster.machines[number]
    }

    /// A radiant that runs.
    fn running(&self, number: usize) -> Arc<Running> {
        let (running, _) = self.machine(number).running().unwrap_or_else(|| panic!("r{number} does not run"));
        running
    }

    /// The configuration as a radiant knows it.
    fn topology(&self, number: usize) -> Arc<Topology> {
        self.running(number).cluster.map.topology()
    }

    /// Whether something holds of all radiants, and all of them run.
    fn all(&self, holds: impl Fn(&Running) -> bool) -> bool {
        let mut machines = self.cluster.machines.iter();
        machines.all(|machine| machine.running().is_some_and(|(running, _)| holds(&running)))
    }

    /// Waits until it holds.
    async fn eventually(&self, what: &str, holds: impl FnMut() -> bool) {
        self.within(PATIENCE, what, holds).await;
    }

    /// Waits until it holds, not longer than told.
    async fn within(&self, longest: Duration, what: &str, mut holds: impl FnMut() -> bool) {
        const AGAIN: Duration = Duration::from_millis(20);
        let end = self.cluster.universe.now_ms() + longest.as_millis() as u64;
        while !holds() {
            self.check();
            assert!(self.cluster.universe.now_ms() < end, "not within {longest:?}: {what}");
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Lets virtual time pass.
    async fn pass(&self, time: Duration) {
        const LOOK: Duration = Duration::from_secs(1);
        let end = self.cluster.universe.now_ms() + time.as_millis() as u64;
        while self.cluster.universe.now_ms() < end {
            let left = Duration::from_millis(end - self.cluster.universe.now_ms());
            tokio::time::sleep(left.min(LOOK)).await;
            self.check();
        }
    }

    /// Waits until the configuration stays as it is: seats are spread after a founding.
    async fn calm(&self, at: usize) {
        const LONG: Duration = Duration::from_secs(2);
        let mut before = Epoch::NONE;
        while before != self.topology(at).epoch {
            before = self.topology(at).epoch;
            self.pass(LONG).await;
        }
    }

    fn check(&self) {
        if let Some(broken) = self.cluster.universe.trace.first_broken() {
            panic!("{broken}");
        }
    }

    /// Cuts everything that has to do with the control order, on all ways, or mends that.
    fn cut_control(&self, cut: bool) {
        let of_control: fn(&Message) -> bool = environment::is_of_control;
        self.cluster.universe.event(format_args!("the control order is cut off: {cut}"));
        self.cluster.net.hush(cut.then_some(of_control));
    }
}

/// Whether a radiant knows of nothing that is amiss.
fn is_well(running: &Running) -> bool {
    running.cluster.status().health == "ok"
}
