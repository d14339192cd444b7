//! Every way in which little can happen to a chain: all orders of delivery and of writes that become durable, with crashes, losses
//! and new epochs wherever they can come. No state is visited twice.
//!
//! The gate looks at a part of the largest cases; all of them, and how many states there are:
//!
//! ```text
//! SHARDBEARER_STATES=2000000 cargo test -p shardbearer --lib explore -- --nocapture
//! ```

use std::fmt::Debug;

use shardbearer_core::engine::Start;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::protocol::{Answer, Boot, Configuration, Durable, Input, Protocol, Ready, Status};
use shardbearer_sim::conformance::Broken;
use shardbearer_sim::protocol::Net;
use shardbearer_sim::protocol::explore::{Budget, Explored, explore};
use shardbearer_sim::protocol::walk::heal;

use super::super::{Chain, Say};
use super::{ONE, THREE, TWO, configuration};

/// States that the gate looks at, in each case.
const STATES: usize = 8_000;

fn states_max() -> usize {
    std::env::var("SHARDBEARER_STATES").map_or(STATES, |states| states.parse().expect("a number"))
}

/// Founders that serve, with nothing under way.
fn served<P: Protocol + Clone + Debug>(count: u64) -> Net<P> {
    let mut founders: Vec<RadiantId> = (1..=count).map(RadiantId).collect();
    if count == 2 {
        founders.reverse();
    }
    let mut net = Net::<P>::new(founders.iter().map(|_| Start::Found(founders.clone())).collect());
    let members: Vec<RadiantId> = net.members.keys().copied().collect();
    heal(&mut net, &members).expect("a calm start");
    net.flights.clear();
    net
}

/// One who is told that these are the members now.
fn told(who: RadiantId, members: &[RadiantId]) -> Vec<(RadiantId, Configuration)> {
    vec![(who, configuration(2, 1, members))]
}

/// What may happen, by name. The head of two founders is the second, of three the first.
fn cases() -> Vec<(&'static str, u64, Budget)> {
    let none = Budget::default;
    vec![
        ("two: losses", 2, Budget { proposals: vec![TWO], losses: 1, ticks: vec![TWO, TWO], ..none() }),
        (
            "two: reads while the tail crashes",
            2,
            Budget { proposals: vec![TWO], reads: vec![ONE, TWO], crashes: vec![ONE], ..none() },
        ),
        (
            "two: the head is left out while it writes and reads",
            2,
            Budget { proposals: vec![TWO], reads: vec![TWO], configurations: told(ONE, &[ONE]), ..none() },
        ),
        (
            "two: the survivor writes while the old head reads",
            2,
            Budget { proposals: vec![ONE], reads: vec![TWO], configurations: told(ONE, &[ONE]), ..none() },
        ),
        (
            "two: the survivor crashes after it was told",
            2,
            Budget { proposals: vec![TWO], crashes: vec![ONE], configurations: told(ONE, &[ONE]), ..none() },
        ),
        (
            "two: the chain is turned round",
            2,
            Budget {
                proposals: vec![TWO],
                crashes: vec![ONE],
                configurations: told(ONE, &[ONE, TWO]),
                ..none()
            },
        ),
        // The later one comes first: reads are taken from the end.
        (
            "two: the head reads after the tail",
            2,
            Budget { proposals: vec![TWO], reads: vec![TWO, ONE], ..none() },
        ),
        ("three: the head crashes", 3, Budget { proposals: vec![ONE], crashes: vec![ONE], ..none() }),
        ("three: the middle crashes", 3, Budget { proposals: vec![ONE], crashes: vec![TWO], ..none() }),
        ("three: the tail crashes", 3, Budget { proposals: vec![ONE], crashes: vec![THREE], ..none() }),
        (
            "three: two writes, and a crash",
            3,
            Budget { proposals: vec![ONE, ONE], crashes: vec![TWO], ..none() },
        ),
        (
            "three: a read at the tail while the middle crashes",
            3,
            Budget { proposals: vec![ONE], reads: vec![THREE], crashes: vec![TWO], ..none() },
        ),
        (
            "three: the head reads after the tail",
            3,
            Budget { proposals: vec![ONE], reads: vec![ONE, THREE], ..none() },
        ),
        (
            "three: the middle reads after the tail",
            3,
            Budget { proposals: vec![ONE], reads: vec![TWO, THREE], ..none() },
        ),
        (
            "three: a loss and a crash",
            3,
            Budget { proposals: vec![ONE], losses: 1, crashes: vec![TWO], ..none() },
        ),
        (
            "three: the head is left out while it writes",
            3,
            Budget { proposals: vec![ONE], configurations: told(TWO, &[TWO, THREE]), ..none() },
        ),
        (
            "three: the middle is left out, and the tail crashes",
            3,
            Budget {
                proposals: vec![ONE],
                crashes: vec![THREE],
                configurations: told(ONE, &[ONE, THREE]),
                ..none()
            },
        ),
        (
            "three: the head is left out, a loss, a crash",
            3,
            Budget {
                proposals: vec![ONE],
                losses: 1,
                crashes: vec![TWO],
                configurations: told(TWO, &[TWO, THREE]),
                ..none()
            },
        ),
    ]
}

fn explored<P: Protocol + Clone + Debug>(count: u64, budget: &Budget) -> Result<Explored, Broken> {
    explore(&served::<P>(count), budget, states_max())
}

#[test]
fn every_way_in_which_little_can_happen_keeps_all_promises() {
    for (name, count, budget) in cases() {
        match explored::<Chain>(count, &budget) {
            Ok(explored) => {
                println!("{name}: {explored:?}");
                // Of three, the gate sees a part of what is large.
                assert!(explored.states > 200 && (explored.complete || count > 2), "{name}: {explored:?}");
            }
            Err(broken) => panic!("{name}: {broken}"),
        }
    }
}

/// What is wrong, as a number, because a type cannot take an enum.
const TAKES_WHAT_IT_APPENDS_FOR_DURABLE: u8 = 1;
const ASKS_NOBODY_BEFORE_IT_READS: u8 = 2;
const FORGETS_ITS_EPOCH: u8 = 3;
const READS_WHAT_ITS_HEAD_KNOWS: u8 = 4;

/// A chain with a flaw.
#[derive(Clone, Debug)]
struct Flawed<const FLAW: u8>(Chain);

impl<const FLAW: u8> Protocol for Flawed<FLAW> {
    type Message = Say;

    fn recover(boot: Boot, mut durable: Durable) -> Result<Self, String> {
        if FLAW == FORGETS_ITS_EPOCH {
            durable.hard = None;
        }
        Chain::recover(boot, durable).map(Flawed)
    }

    fn step(&mut self, input: Input<Say>, ready: &mut Ready<Say>) {
        match input {
            Input::ReadBarrier { ticket } if FLAW == ASKS_NOBODY_BEFORE_IT_READS && self.0.leads() => {
                ready.answer(ticket, Answer::Read(self.0.commit));
            }
            Input::Receive { from, message: Say::Confirmed { epoch, round, last: Some(_) }, entries }
                if FLAW == READS_WHAT_ITS_HEAD_KNOWS && self.0.leads() =>
            {
                let message = Say::Confirmed { epoch, round, last: Some(0) };
                self.0.step(Input::Receive { from, message, entries }, ready);
            }
            input => self.0.step(input, ready),
        }
        let upto = self.0.log.last().index;
        if FLAW == TAKES_WHAT_IT_APPENDS_FOR_DURABLE && upto > self.0.durable {
            self.0.step(Input::Persisted { upto }, ready);
        }
    }

    fn status(&self) -> Status {
        self.0.status()
    }
}

/// The case in which a flaw is found, and what is said of it.
fn found<const FLAW: u8>() -> Option<(&'static str, String)> {
    cases().into_iter().find_map(|(name, count, budget)| {
        let found = explored::<Flawed<FLAW>>(count, &budget).err()?;
        Some((name, found.to_string()))
    })
}

#[test]
fn every_flaw_is_found_on_some_way() {
    for (flaw, found, words) in [
        ("TakesWhatItAppendsForDurable", found::<TAKES_WHAT_IT_APPENDS_FOR_DURABLE>(), "another member"),
        ("AsksNobodyBeforeItReads", found::<ASKS_NOBODY_BEFORE_IT_READS>(), "was acknowledged before it"),
        (
            "ReadsWhatItsHeadKnows",
            found::<READS_WHAT_ITS_HEAD_KNOWS>(),
            "a read that was over before it showed",
        ),
        ("ForgetsItsEpoch", found::<FORGETS_ITS_EPOCH>(), "another member"),
    ] {
        let (case, said) = found.unwrap_or_else(|| panic!("nobody noticed: {flaw}"));
        println!("{flaw} in {case:?}: {said:.300}");
        assert!(said.contains(words), "{flaw} in {case:?}: {said}");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/testing.md");
        let text = std::fs::read_to_string(path).expect("the document is there");
        let row = text.lines().find(|line| line.contains(&format!("`{flaw}`")));
        assert!(row.is_some_and(|row| row.contains(case)), "docs/testing.md: `{flaw}` is found in {case:?}");
    }
}
