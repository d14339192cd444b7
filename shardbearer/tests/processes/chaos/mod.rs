//! Faults of every kind, one after another, on real processes under load; what clients saw is judged by the oracle of
//! `shardbearer_state::history`.
//!
//! In the gate each engine sees each of its faults once. `scripts/chaos.sh` runs the same for as long as it is told.
//!
//! | room | holds |
//! |---|---|
//! | [`plan`] | which engine, which faults, how long |
//! | [`stage`] | the cluster, with disks, clocks and links in our hands |
//! | [`shim`], `faults.c` | calls that fail, small disks, wrong clocks, connections that lead elsewhere |
//! | [`links`] | proxies between radiants that can be cut in each direction |
//! | [`faults`], [`crashes`], [`flips`], [`images`] | what is done, and what must hold of the radiant that is hit |
//! | [`clients`], [`calls`] | the load, all of which is written down |
//! | [`moves`], [`steps`] | shards that change owners, radiants that change seats, also at the moment of a kill |
//! | [`gaps`], [`bystanders`] | how long keys stand still, who leads; what others feel of a kill |
//! | [`storms`] | links that stay half cut, under which nobody is elected again and again |
//! | [`strain`] | a radiant that stands still, and far too much load: what it costs |
//! | [`controls`] | clusters that are not sound, of which the oracle has to say so |
//! | [`summary`] | what came of it |

mod bystanders;
mod calls;
mod clients;
mod controls;
mod crashes;
mod faults;
mod flips;
mod gaps;
mod images;
mod links;
mod moves;
mod plan;
pub mod shim;
mod stage;
mod steps;
mod storms;
mod strain;
mod summary;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use shardbearer_state::history::{Options, Report, Violation, check};
use tokio::time::Instant;

use super::harness::PATIENCE;
use super::replicas::same_everywhere;

use self::clients::{Load, Shared, read_all};
use self::faults::Scene;
use self::gaps::Pulse;
use self::moves::Moves;
use self::plan::{Fault, Plan};
use self::stage::Stage;
pub use self::stage::files_of;
use self::summary::Tally;

fn one_of<T: Clone>(dice: &mut StdRng, all: &[T]) -> T {
    all[dice.random_range(0..all.len())].clone()
}

/// Writes the history down if the run does not come to its end.
struct Evidence {
    shared: Arc<Shared>,
    folder: PathBuf,
    seed: u64,
}

impl Evidence {
    /// Where the history is now, and how to look at it again.
    fn keep(&self) {
        let file = self.folder.join("history.jsonl");
        std::fs::write(&file, self.shared.recorder.lines()).unwrap();
        eprintln!("seed {}; everything is kept in {}", self.seed, self.folder.display());
        eprintln!("check it again: shardbearer check {}", file.display());
    }
}

impl Drop for Evidence {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
    }
}

/// A whole run, with the oracle's verdict.
async fn run(plan: &Plan) -> (Tally, Report) {
    let mut stage = Stage::started(plan).await;
    let mut faults = plan.faults.clone();
    // Both would have their say of the same seats.
    faults.retain(|fault| !plan.members || *fault != Fault::Member);
    // Until the end is a good one.
    stage.cluster.folder.disable_cleanup(true);
    let start = Instant::now();
    let mut dice = StdRng::seed_from_u64(plan.seed);
    let mut tally = Tally::default();
    let load = Load::start(&stage.cluster, plan.resp, plan.native, plan.seed).await;
    let folder = stage.cluster.folder.path().to_owned();
    let evidence = Evidence { shared: load.shared.clone(), folder, seed: plan.seed };
    let pulse = Pulse::start(&stage.cluster);
    pulse.beats(3).await;
    let moves = Moves::start(&stage.cluster, plan).await;

    faults.shuffle(&mut dice);
    let mut rounds = 0;
    while rounds < faults.len() || start.elapsed() < plan.time && !faults.is_empty() {
        let fault = if rounds < faults.len() { faults[rounds] } else { one_of(&mut dice, &faults) };
        rounds += 1;
        let calls = load.calls();
        let before = Instant::now();
        if let Some(phase) = moves.phase() {
            tally.note(format!("{} came while a shard was on its way: {phase}", fault.name()));
        }
        Scene {
            stage: &mut stage,
            pulse: &pulse,
            dice: &mut dice,
            tally: &mut tally,
            survives_one: plan.survives_one(),
        }
        .play(fault)
        .await;
        if plan.long {
            let (at, took) = (start.elapsed().as_secs(), before.elapsed());
            println!("{at:>6} s  {:<9} {took:>6.1?}, {} calls", fault.name(), load.calls() - calls);
        }
        // Some calm, so that what follows meets a cluster at work.
        tokio::time::sleep(Duration::from_millis(dice.random_range(100..600))).await;
    }
    if plan.is_sound() {
        moves.end(&mut tally).await;
    }
    let shared = load.end().await;
    tally.heralds = pulse.end().await;
    if plan.survives_one() && plan.is_sound() {
        read_while_each_is_away(&mut stage, &shared).await;
    }
    if plan.is_sound() {
        tally.compared = same_everywhere(&stage.cluster).await;
    }
    tally.judge_what_was_done(&plan.faults);
    tally.time = start.elapsed();
    tally.errors = shared.errors.lock().clone();
    let report = check(&shared.recorder.history(), &Options::default(), |_| ());
    (tally.operations, tally.refused, tally.unknown) = (report.operations, report.refused, report.unknown);
    (tally.keys, tally.violations) = (report.keys, report.violations_count);
    println!("{} on seed {}: {tally}", plan.engine, plan.seed);
    println!("{}", tally.json(plan));
    if report.passed() || !plan.is_sound() {
        stage.cluster.folder.disable_cleanup(false);
    } else {
        evidence.keep();
    }
    (tally, report)
}

/// Every member of an order has what its herald has: so others lead, and are read.
async fn read_while_each_is_away(stage: &mut Stage, shared: &Arc<Shared>) {
    for radiant in stage.all() {
        stage.kill(radiant);
        stage.cluster.ready_within(4 * PATIENCE).await;
        let mut doors = stage.cluster.resp_doors();
        doors.remove(radiant);
        read_all(shared, &doors).await;
        stage.start(radiant);
        stage.cluster.ready_within(4 * PATIENCE).await;
    }
}

/// Clients saw nothing wrong, and nothing else was wrong either. A run goes on after that, and fails in the end.
fn assert_passed(tally: &Tally, report: &Report) {
    let lines: Vec<String> = report.violations.iter().flat_map(Violation::lines).collect();
    assert!(report.passed(), "{} violations:\n{}", report.violations_count, lines.join("\n"));
    assert!(tally.shortfalls.is_empty(), "{:#?}\n{tally}", tally.shortfalls);
}

/// But images, and crashes while one comes, which take a minute to become due; and members, which change in a test of their own.
fn quick_faults() -> Vec<Fault> {
    Fault::ALL
        .iter()
        .map(|(fault, _)| *fault)
        .filter(|fault| !matches!(fault, Fault::Crash | Fault::Image | Fault::ImageFlip | Fault::Member))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openraft() {
    let mut plan = Plan::of("openraft", &quick_faults());
    // Where nobody asked for less.
    plan.moves |= !plan.long;
    let (tally, report) = run(&plan).await;
    assert_passed(&tally, &report);
    assert!(tally.moves.completed > 0 || !plan.moves, "not one shard has moved");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn omnipaxos() {
    let few = [Fault::Kill, Fault::Pause, Fault::Isolate, Fault::Bridge, Fault::PowerAll, Fault::Move];
    let plan = Plan::of("omnipaxos", &few);
    let (tally, report) = run(&plan).await;
    assert_passed(&tally, &report);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chain() {
    let few = [Fault::Kill, Fault::Pause, Fault::Isolate, Fault::PowerAll, Fault::Move];
    let plan = Plan::of("chain", &few);
    let (tally, report) = run(&plan).await;
    assert_passed(&tally, &report);
}
