//! Every interleaving of whole machines within bounds: not only who gets a founding chosen, but who is told of it, what list of members
//! each of them ends with, and who is told to join instead. Runs [`Machine::step`] itself.
//!
//! Time stands still. What waits are for is that somebody stops waiting, and here anybody may at any moment: it becomes a candidate, or one
//! again whatever became of its last attempt. A message may arrive at any later time or never, so loss, delay and every cut
//! need no steps of their own; those that come twice do, as do beacons and crashes, and have a budget.
//!
//! What must hold in every state: one founding, and everybody who tells of it tells the same list; whoever is a member is named
//! in it; nobody who is named is sent to join; what is promised is stored. And from every state, once messages arrive, all come to
//! know the cluster.

mod world;

use std::collections::{HashSet, VecDeque};

use self::world::{Budget, Double, State};

/// States that the gate looks at, in each case; `SHARDBEARER_STATES` says otherwise.
const STATES: usize = 8_000;

/// From one in so many states the way to the end is tried.
const ENDS_EVERY: u64 = 16;

/// How many states there are, in how many a cluster is founded, and whether these are all; or what is wrong after how many.
struct Explored {
    states: usize,
    founded: usize,
    complete: bool,
}

fn explore(first: State, states_max: usize) -> Result<Explored, (usize, String)> {
    let mut seen = HashSet::from([first.hash()]);
    let mut queue = VecDeque::from([first]);
    let mut founded = 0;
    while let Some(state) = queue.pop_front() {
        if seen.len() >= states_max {
            return Ok(Explored { states: seen.len(), founded, complete: false });
        }
        for next in state.next() {
            let next = next.map_err(|why| (seen.len(), why))?;
            let hash = next.hash();
            if !seen.insert(hash) {
                continue;
            }
            founded += usize::from(next.founded.is_some());
            if hash.is_multiple_of(ENDS_EVERY) {
                next.clone().ends().map_err(|why| (seen.len(), why))?;
            }
            queue.push_back(next);
        }
    }
    Ok(Explored { states: seen.len(), founded, complete: true })
}

fn budget(attempts: u8, crashes: u8, beacons: u8, repeated: u8) -> Budget {
    Budget { attempts, crashes, beacons, repeated }
}

/// Radiants, how many found, and what may happen, by name. The numbers of states are in docs/testing.md.
const CASES: &[(&str, usize, u32, Budget)] = &[
    ("two, an attempt, a crash, a beacon", 2, 2, Budget { attempts: 1, crashes: 1, beacons: 1, repeated: 1 }),
    ("two, 2 attempts, a crash", 2, 2, Budget { attempts: 2, crashes: 1, beacons: 0, repeated: 0 }),
    ("three, an attempt, a beacon", 3, 3, Budget { attempts: 1, crashes: 0, beacons: 1, repeated: 0 }),
    ("three, an attempt, a crash", 3, 3, Budget { attempts: 1, crashes: 1, beacons: 0, repeated: 0 }),
    ("three, 2 attempts", 3, 3, Budget { attempts: 2, crashes: 0, beacons: 0, repeated: 0 }),
    (
        "three of which any two found, an attempt, a beacon",
        3,
        2,
        Budget { attempts: 1, crashes: 0, beacons: 1, repeated: 0 },
    ),
    (
        "three of which any two found, an attempt, a crash",
        3,
        2,
        Budget { attempts: 1, crashes: 1, beacons: 0, repeated: 0 },
    ),
    (
        "three of which any two found, 2 attempts, a crash",
        3,
        2,
        Budget { attempts: 2, crashes: 1, beacons: 0, repeated: 0 },
    ),
];

#[test]
fn whole_machines_found_one_cluster_of_one_list_on_every_way() {
    let states_max =
        std::env::var("SHARDBEARER_STATES").map_or(STATES, |text| text.parse().expect("a number"));
    for (name, radiants, expect, left) in CASES {
        let explored = explore(State::new(*radiants, *expect, *left, None), states_max);
        let Explored { states, founded, complete } =
            explored.unwrap_or_else(|(after, why)| panic!("{name}: {why}, after {after} states"));
        println!(
            "{name}: {states} states, a cluster in {founded}{}",
            if complete { "" } else { ", not all" }
        );
        // Of what is not seen to its end, the beginning is.
        assert!(
            founded > 0 && (!complete || founded > states / 4),
            "{name}: {states} states, a cluster in {founded}"
        );
    }
}

#[test]
fn broken_doubles_are_caught() {
    for (double, radiants, expect, left, why) in [
        (Double::Forgets, 3, 2, budget(2, 1, 0, 0), "two clusters"),
        (Double::Presumes, 2, 2, budget(2, 0, 0, 0), "two clusters"),
        (Double::SendsAway, 2, 2, budget(1, 0, 1, 0), "that names it"),
        (Double::Shortens, 2, 2, budget(1, 0, 0, 0), "two lists"),
        (Double::SaysFirst, 2, 2, budget(1, 0, 0, 0), "has not stored"),
    ] {
        let found = explore(State::new(radiants, expect, left, Some(double)), 400_000);
        let (after, said) = found.err().unwrap_or_else(|| panic!("{double:?} goes unnoticed"));
        println!("{double:?}: {said}, after {after} states");
        assert!(said.contains(why), "{double:?}: {said}");
    }
}
