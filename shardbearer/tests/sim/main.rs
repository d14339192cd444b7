//! Whole radiants in a virtual world: the production assembly on a virtual network, virtual disks and virtual time.
//!
//! ```text
//!   SIM_SEED=7 cargo test -p shardbearer --test sim -- --nocapture one_seed     one run again
//!   SIM_MIX=chain cargo test -p shardbearer --test sim scenes                   scenes with other engines
//!   scripts/sim.sh 1000                                                         many, in parallel
//! ```

mod clients;
mod cluster;
mod coverage;
mod doubles;
mod environment;
mod invariants;
mod machine;
mod mixes;
mod observer;
mod operator;
mod points;
mod run;
mod scenes;
mod transport;

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use shardbearer_sim::chaos;

use self::coverage::ByMix;
use self::run::{Broken, Passed, Scenario, run};

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// The seed that `SIM_SEED` names, otherwise seed 0.
#[test]
fn one_seed() {
    let mut scenario = Scenario::of(number("SIM_SEED").unwrap_or(0));
    if let Ok(name) = std::env::var("SIM_PROFILE") {
        scenario.profile = chaos::profile(&name).unwrap_or_else(|| panic!("there is no profile {name}"));
    }
    if let Some(mix) = mixes::mix_told() {
        scenario.mix = mix;
    }
    if let Ok(name) = std::env::var("SIM_POINT") {
        scenario.points = points::point(&name).unwrap_or_else(|| panic!("there is no point '{name}'"));
    }
    scenario.operated = std::env::var_os("SIM_OPERATOR").is_some();
    // A trace in a file is of one run.
    let passed = checked(&scenario, std::env::var_os("SIM_TRACE").is_none());
    println!("{:?}\n{} operations, digest {:016x}", passed.covered, passed.operations, passed.digest);
}

/// Runs a scenario, and again if wanted: then it has to do the same again.
fn checked(scenario: &Scenario, twice: bool) -> Passed {
    let passed = named(scenario, run).unwrap_or_else(|why| panic!("{why}"));
    if twice {
        let again = named(scenario, run).unwrap_or_else(|why| panic!("only the second time: {why}"));
        assert_eq!(
            passed.digest,
            again.digest,
            "it did not do the same again; SIM_TRACE shows where; {}",
            scenario.again()
        );
    }
    passed
}

/// Runs a scenario; what is wrong, also if the run itself panics, comes with the command that repeats it.
fn named(
    scenario: &Scenario,
    run: impl FnOnce(&Scenario) -> Result<Passed, Box<Broken>>,
) -> Result<Passed, String> {
    match catch_unwind(AssertUnwindSafe(|| run(scenario))) {
        Ok(verdict) => verdict.map_err(|broken| broken.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            let what = text.unwrap_or_else(|| "something that is no text".into());
            Err(format!("seed {} panicked: {what}\n{}", scenario.seed, scenario.again()))
        }
    }
}

#[test]
fn a_run_that_panics_names_its_seed() {
    let failed = named(&Scenario::of(7), |scenario| panic!("{} is enough", scenario.seed));
    let why = failed.err().expect("it panicked");
    assert!(why.contains("7 is enough") && why.contains("SIM_SEED=7 "), "{why}");
}

/// What fits into CI; `SIM_SEEDS` and `SIM_FIRST` choose others. Each runs twice, or every `SIM_TWICE`th.
#[test]
fn many_seeds() {
    let first = number("SIM_FIRST").unwrap_or(0);
    let count = number("SIM_SEEDS").unwrap_or(SEEDS);
    let seeds = first..first + count;
    let twice = number("SIM_TWICE").unwrap_or(1);
    let covered = sweep(seeds, |seed| checked(&Scenario::of(seed), seed.is_multiple_of(twice)));
    println!("{count} seeds");
    print!("{}", coverage::table(&covered));
    if !has_to_reach_everything(first, count, SEEDS) {
        return;
    }
    let rare = coverage::too_rare(&covered, count);
    assert!(rare.is_empty(), "too rare to have proved anything: {}", rare.join(", "));
}

const SEEDS: u64 = 200;

/// Whether a sweep has to reach everything: that of CI, which is always the same, and long ones. Others may miss something by
/// chance.
fn has_to_reach_everything(first: u64, count: u64, of_ci: u64) -> bool {
    (first, count) == (0, of_ci) || count >= LONG
}

const LONG: u64 = 1_000;

/// The same with an operator, whose changes of members and moves of shards meet the faults. `SIM_OPERATED` chooses how many.
#[test]
fn many_seeds_with_an_operator() {
    let first = number("SIM_FIRST").unwrap_or(0);
    let count = number("SIM_OPERATED").unwrap_or(OPERATED);
    let twice = number("SIM_TWICE").unwrap_or(1);
    let covered = sweep(first..first + count, |seed| {
        let scenario = Scenario { operated: true, ..Scenario::of(seed) };
        checked(&scenario, seed.is_multiple_of(twice))
    });
    println!("{count} seeds with an operator");
    let covered = coverage::sum(&covered);
    let operated = coverage::OPERATED.iter().map(|what| (*what, covered.get(what).copied().unwrap_or(0)));
    let operated: Vec<_> = operated.collect();
    println!("{operated:?}");
    if !has_to_reach_everything(first, count, OPERATED) {
        return;
    }
    // Even few seeds must have been agreed to everything once.
    let floor = count.div_ceil(50);
    assert!(operated.iter().all(|(_, times)| *times >= floor), "not everything was asked for: {operated:?}");
    let changes: u64 = operated.iter().map(|(_, times)| times).sum();
    assert!(changes >= count, "{operated:?}");
}

/// As many as there are profiles, which they meet in turn.
const OPERATED: u64 = chaos::PROFILES.len() as u64;

/// Runs seeds on all processors and adds up what they reached with each mix of engines.
fn sweep(seeds: Range<u64>, one: impl Fn(u64) -> Passed + Sync) -> ByMix {
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new(ByMix::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (count, done) = (seeds.end - seeds.start, AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let stop = StopOthers(&next, seeds.end);
                    let passed = one(seed);
                    std::mem::forget(stop);
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if count > SEEDS && done.is_multiple_of(100) {
                        eprintln!("{done} of {count} seeds");
                    }
                    let mut total = total.lock();
                    let reached: &mut BTreeMap<_, _> = total.entry(passed.mix).or_default();
                    let operations = ("operations", passed.operations as u64);
                    for (what, count) in passed.covered.into_iter().chain([operations]) {
                        *reached.entry(what).or_default() += count;
                    }
                }
            });
        }
    });
    total.into_inner()
}

/// Lets nobody begin another seed after a failure.
struct StopOthers<'a>(&'a AtomicU64, u64);

impl Drop for StopOthers<'_> {
    fn drop(&mut self) {
        self.0.store(self.1, Ordering::Relaxed);
    }
}
