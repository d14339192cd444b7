//! Whole radiants in a virtual world: the production assembly on a virtual network, virtual disks and virtual time.
//!
//! ```text
//!   SIM_SEED=7 cargo test -p shardbearer --test sim -- --nocapture one_seed     one run again
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
mod run;
mod scenes;
mod transport;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use shardbearer_sim::chaos;

use self::run::{Passed, Scenario, run};

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
    if let Ok(name) = std::env::var("SIM_MIX") {
        scenario.mix = mixes::mix(&name).unwrap_or_else(|| panic!("there is no mix {name}"));
    }
    scenario.operated = std::env::var_os("SIM_OPERATOR").is_some();
    // A trace in a file is of one run.
    let passed = checked(&scenario, std::env::var_os("SIM_TRACE").is_none());
    println!("{:?}\n{} operations, digest {:016x}", passed.covered, passed.operations, passed.digest);
}

/// Runs a scenario, and again if wanted: then it has to do the same again.
fn checked(scenario: &Scenario, twice: bool) -> Passed {
    let passed = run(scenario).unwrap_or_else(|broken| panic!("{broken}"));
    if twice {
        let again = run(scenario).unwrap_or_else(|broken| panic!("only the second time: {broken}"));
        assert_eq!(
            passed.digest,
            again.digest,
            "it did not do the same again; SIM_TRACE shows where; {}",
            scenario.again()
        );
    }
    passed
}

/// What fits into CI; `SIM_SEEDS` and `SIM_FIRST` choose others. Each runs twice, or every `SIM_TWICE`th.
#[test]
fn many_seeds() {
    let first = number("SIM_FIRST").unwrap_or(0);
    let seeds = first..first + number("SIM_SEEDS").unwrap_or(SEEDS);
    let twice = number("SIM_TWICE").unwrap_or(1);
    let covered = sweep(seeds.clone(), |seed| checked(&Scenario::of(seed), seed.is_multiple_of(twice)));
    let count = seeds.end - seeds.start;
    println!("{count} seeds");
    for (what, count) in &covered {
        println!("{count:>9} {what}");
    }
    let rare = coverage::too_rare(&covered, count);
    assert!(rare.is_empty(), "too rare to have proved anything: {}", rare.join(", "));
}

const SEEDS: u64 = 200;

/// The same with an operator, whose changes of members and moves of shards meet the faults. `SIM_OPERATED` chooses how many.
#[test]
fn many_seeds_with_an_operator() {
    let first = number("SIM_FIRST").unwrap_or(0);
    let count = number("SIM_OPERATED").unwrap_or(OPERATED);
    let twice = number("SIM_TWICE").unwrap_or(1);
    let covered = sweep(first..first + count, |seed| {
        // So that a few meet all profiles and most engines.
        let scenario = Scenario { operated: true, ..Scenario::of(10 * seed) };
        checked(&scenario, seed.is_multiple_of(twice))
    });
    println!("{count} seeds with an operator");
    let operated = coverage::OPERATED.iter().map(|what| (*what, covered.get(what).copied().unwrap_or(0)));
    let operated: Vec<_> = operated.collect();
    println!("{operated:?}");
    // Even few seeds must have been agreed to everything once.
    let floor = count.div_ceil(50);
    assert!(operated.iter().all(|(_, times)| *times >= floor), "not everything was asked for: {operated:?}");
    let changes: u64 = operated.iter().map(|(_, times)| times).sum();
    assert!(changes >= count, "{operated:?}");
}

const OPERATED: u64 = 8;

/// Runs seeds on all processors and adds up what they reached.
fn sweep(seeds: Range<u64>, one: impl Fn(u64) -> Passed + Sync) -> BTreeMap<&'static str, u64> {
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new(BTreeMap::new());
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
                    *total.entry("operations").or_default() += passed.operations as u64;
                    for (what, count) in passed.covered {
                        *total.entry(what).or_default() += count;
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
