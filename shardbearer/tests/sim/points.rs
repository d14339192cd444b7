//! Crashes at named points: right before and right after each thing that is done to a disk, on each engine.
//!
//! After such a crash what is applied and what is counted as applied must be the same, whatever was durable. Every run ends
//! as all do: replicas that stand at the same position have the same rows, and what clients were told is so.

use std::collections::BTreeMap;

use shardbearer_sim::chaos;
use shardbearer_sim::disk::points::{Deed, POINTS, Point};

use super::coverage::sum;
use super::mixes::{ENGINES, Mix, mix};
use super::run::{Passed, Scenario};
use super::{checked, number, sweep};

/// Seeds in which a point has to be come by once, on the average. Some need a radiant that leads while it is cut off.
const SEEDS_FOR_ONE: u64 = 80;

/// The one of that name.
pub fn point(name: &str) -> Option<&'static [(Point, &'static str)]> {
    POINTS.iter().position(|(_, known)| *known == name).map(|at| &POINTS[at..=at])
}

/// One run of each point, on one engine after the other; or `SIM_POINTS` runs of each on all engines.
#[test]
fn a_crash_at_every_point_leaves_replicas_that_are_the_same() {
    let asked = number("SIM_POINTS");
    let wanted = asked.unwrap_or(1);
    let engine = |name: &str| mix(name).expect("each engine has a mix of its own");
    let jobs: Vec<(usize, &Mix)> = (0..POINTS.len())
        .flat_map(|at| ENGINES.iter().enumerate().map(move |(turn, name)| (at, turn, *name)))
        // Before and after on the same.
        .filter(|(at, turn, _)| asked.is_some() || at / 2 % ENGINES.len() == *turn)
        .map(|(at, _, name)| (at, engine(name)))
        .collect();
    let reached = sweep(0..jobs.len() as u64, |job| {
        let (at, mix) = jobs[job as usize];
        crash_there(&POINTS[at..=at], mix, wanted)
    });
    let reached = sum(&reached);
    assert_eq!(reached["runs"], wanted * jobs.len() as u64, "{reached:?}");
}

/// Runs seeds until so many had a crash at the point.
fn crash_there(points: &'static [(Point, &'static str)], mix: &'static Mix, wanted: u64) -> Passed {
    let profile = chaos::profile("points").expect("one of the profiles");
    let (point, name) = points[0];
    // Without an operator hardly anything is decided.
    let operated = point.deed == Deed::Decide;
    let (mut runs, mut operations) = (0, 0);
    for seed in 0..wanted * SEEDS_FOR_ONE {
        let scenario = Scenario { profile, mix, points, operated, ..Scenario::of(seed) };
        let passed = checked(&scenario, false);
        runs += u64::from(passed.covered.contains_key(name));
        operations += passed.operations;
        if runs == wanted {
            println!("{}: {name}: {runs} of {} runs", mix.name, seed + 1);
            return Passed {
                digest: 0,
                mix: mix.name,
                covered: BTreeMap::from([("runs", runs)]),
                operations,
            };
        }
    }
    panic!("{}: {name}: come by in only {runs} of {} runs", mix.name, wanted * SEEDS_FOR_ONE);
}
