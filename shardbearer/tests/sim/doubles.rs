//! Broken doubles: what the simulation must notice, and within how many seeds. A check that was never seen to fail
//! proves nothing.

mod beacons;
mod decisions;
mod engines;
mod entries;

use std::ops::Range;

use shardbearer_sim::chaos;
use shardbearer_sim::disk::{Flaw, Lie};

pub use self::beacons::{Lie as BeaconLie, Lying};
pub use self::decisions::{Left, Whim};
pub use self::engines::{Defect, defective};
use super::invariants::Watched;
use super::mixes::mix;
use super::run::{Scenario, run};

/// What is wrong with a cluster; by default nothing.
#[derive(Clone, Copy, Default)]
pub struct Defects {
    pub disk: Option<Flaw>,
    pub engine: Option<Defect>,
    pub beacons: Option<BeaconLie>,
    /// Who looks at the rows of replicas.
    pub watched: Watched,
    /// Nobody asks at an acknowledgement on which disks it is.
    pub unasked: bool,
}

const NONE: Defects =
    Defects { disk: None, engine: None, beacons: None, watched: Watched::FromOutside, unasked: false };

const fn disk(flaw: Flaw) -> Defects {
    Defects { disk: Some(flaw), ..NONE }
}

const fn engine(defect: Defect) -> Defects {
    Defects { engine: Some(defect), ..NONE }
}

/// A promise that is broken on purpose.
struct Double {
    name: &'static str,
    defects: Defects,
    profile: &'static str,
    /// Whether it shows only where an operator changes things meanwhile.
    operated: bool,
    /// With which engines, by the name of the mix, and within which seeds it has to be noticed there. They begin where it is,
    /// so that this takes one run.
    on: &'static [(&'static str, Range<u64>)],
    /// One of which the verdict contains.
    words: &'static [&'static str],
}

const DOUBLES: &[Double] = &[
    Double {
        name: "a log that acknowledges before it is durable",
        defects: disk(Flaw::AcksBeforeDurable),
        profile: "calm",
        operated: false,
        on: &[("openraft", 0..10), ("omnipaxos", 0..60), ("chain", 0..60)],
        words: &["that is durable on"],
    },
    Double {
        name: "the same, where it is noticed only when somebody leads without what was committed",
        defects: Defects { unasked: true, ..disk(Flaw::AcksBeforeDurable) },
        profile: "all-crash",
        operated: false,
        on: &[("openraft", 0..60), ("omnipaxos", 0..60), ("chain", 0..60)],
        words: &["without entry"],
    },
    Double {
        name: "a disk that forgets votes",
        defects: disk(Flaw::ForgetsHardState),
        profile: "all-crash",
        operated: false,
        on: &[("openraft", 0..10)],
        words: &["two heralds", "that is durable on"],
    },
    Double {
        name: "the same, where nobody looks at what is acknowledged",
        defects: Defects { unasked: true, ..disk(Flaw::ForgetsHardState) },
        profile: "all-crash",
        operated: false,
        on: &[("openraft", 0..200)],
        words: &["two heralds"],
    },
    Double {
        name: "a log with a hole after it was cut",
        defects: disk(Flaw::CutsTooMuch),
        profile: "everything",
        operated: false,
        on: &[("openraft", 20..100)],
        words: &["follows"],
    },
    Double {
        name: "a replica that diverges since its storage loses rows",
        defects: disk(Flaw::LosesRows),
        profile: "calm",
        operated: false,
        on: &[("openraft", 0..10), ("omnipaxos", 0..60), ("chain", 0..60)],
        words: &["applied the same and differ"],
    },
    Double {
        name: "the same, where radiants have to find out by themselves",
        defects: Defects { watched: Watched::ByEachOther, ..disk(Flaw::LosesRows) },
        profile: "calm",
        operated: false,
        on: &[("openraft", 0..10)],
        words: &["says that replicas held different"],
    },
    Double {
        name: "the same, where each has to find out by itself",
        defects: Defects { watched: Watched::ByThemselves, ..disk(Flaw::LosesRows) },
        profile: "calm",
        operated: false,
        on: &[("openraft", 0..10), ("omnipaxos", 0..60), ("chain", 0..60)],
        words: &["says that it stores what was not written"],
    },
    Double {
        name: "a storage that keeps half of a batch",
        defects: disk(Flaw::TearsBatches),
        profile: "points",
        operated: false,
        on: &[("openraft", 0..20)],
        words: &["applied the same and differ", "something else than epoch"],
    },
    Double {
        name: "data without checksums, of which a bit turns",
        defects: disk(Flaw::ChecksNothing),
        profile: "data",
        operated: false,
        on: &[("openraft", 59..200)],
        words: &["applied the same and differ"],
    },
    Double {
        name: "an order that forgets who asked, so that a repeated request applies twice",
        defects: engine(Defect::Forgetful),
        profile: "net",
        operated: false,
        on: &[("openraft", 0..10), ("omnipaxos", 0..60), ("chain", 0..60)],
        words: &["took effect twice", "should have", "made twice", "nothing explains"],
    },
    Double {
        name: "an order that applies each entry twice",
        defects: engine(Defect::AppliesTwice),
        profile: "calm",
        operated: false,
        on: &[("openraft", 0..10), ("omnipaxos", 0..60), ("chain", 0..60)],
        words: &["was given again"],
    },
    Double {
        name: "images without the session table",
        defects: engine(Defect::Images(Lie::OmitsSessions)),
        profile: "crash",
        operated: false,
        on: &[("openraft", 0..40), ("omnipaxos", 0..60), ("chain", 0..60)],
        words: &["applied the same and differ"],
    },
    Double {
        name: "images that omit a key",
        defects: engine(Defect::Images(Lie::OmitsKeys)),
        profile: "crash",
        operated: false,
        on: &[("openraft", 0..40), ("omnipaxos", 0..60), ("chain", 0..60)],
        words: &["applied the same and differ"],
    },
    Double {
        name: "a herald that answers reads without asking whether it still is one",
        defects: engine(Defect::Hasty),
        profile: "pause",
        operated: false,
        on: &[("openraft", 3..60), ("omnipaxos", 0..60), ("chain", 13..60)],
        words: &["no order explains", "was answered before"],
    },
    Double {
        name: "a lease that is kept across a pause",
        defects: engine(Defect::LongLease),
        profile: "pause",
        operated: false,
        on: &[("openraft", 3..70)],
        words: &["no order explains", "was answered before"],
    },
    Double {
        name: "an order that takes what belongs to another",
        defects: engine(Defect::Greedy),
        profile: "calm",
        operated: false,
        on: &[("openraft", 0..10), ("omnipaxos", 0..60), ("chain", 0..60)],
        words: &["is served by orders"],
    },
    Double {
        name: "a source that serves again instead of dropping its copy",
        defects: engine(Defect::ServesOn),
        profile: "calm",
        operated: true,
        on: &[("openraft", 0..10)],
        // Of a shard that moves, and of one that is split.
        words: &["while order", "on it is another's"],
    },
    Double {
        name: "what is split off takes whatever it is asked for",
        defects: engine(Defect::TakesAnything),
        profile: "calm",
        operated: true,
        on: &[("openraft", 0..40), ("omnipaxos", 0..40), ("chain", 0..40)],
        words: &["on it is another's"],
    },
    Double {
        name: "founders that are said to agree without having been asked",
        defects: Defects { beacons: Some(BeaconLie::Agree), ..NONE },
        profile: "calm",
        operated: false,
        on: &[("openraft", 9..40)],
        words: &["two clusters"],
    },
    Double {
        name: "founders that are told of different foundings",
        defects: Defects { beacons: Some(BeaconLie::Garble), ..NONE },
        profile: "calm",
        operated: false,
        on: &[("openraft", 0..10)],
        words: &["is another configuration"],
    },
    Double {
        name: "data that are said to be durable and are not",
        defects: engine(Defect::PersistsNothing),
        profile: "calm",
        operated: false,
        on: &[("openraft", 0..10), ("omnipaxos", 0..60), ("chain", 0..60)],
        words: &["is purged up to"],
    },
    Double {
        name: "orders that serve only while there is a scherald",
        defects: engine(Defect::AsksTheScherald),
        profile: "calm",
        operated: false,
        on: &[("openraft", 0..10)],
        words: &["without the control order"],
    },
    Double {
        name: "a control order that carries out what was decided on an epoch that is over",
        defects: engine(Defect::Decides(Whim::OldOnes)),
        profile: "calm",
        operated: true,
        on: &[("openraft", 0..10)],
        words: &["took effect in epoch"],
    },
    Double {
        name: "a scherald that was deposed, whose decisions are put in force by its successor",
        defects: engine(Defect::Decides(Whim::OfTheDeposed)),
        profile: "pairs",
        operated: true,
        on: &[("openraft", 29..60)],
        words: &["took effect in epoch"],
    },
    Double {
        name: "a control order that lets two members go at once",
        defects: engine(Defect::Decides(Whim::TwoAtOnce)),
        profile: "calm",
        operated: true,
        on: &[("openraft", 0..10)],
        words: &["come at once"],
    },
    Double {
        name: "epochs of which nobody knows who asked for them",
        defects: engine(Defect::Decides(Whim::Unexplained)),
        profile: "calm",
        operated: false,
        on: &[("openraft", 0..10)],
        words: &["is not explained"],
    },
    Double {
        name: "a destination that serves as soon as it has everything",
        defects: engine(Defect::ServesEarly),
        profile: "calm",
        operated: true,
        on: &[("openraft", 0..10)],
        words: &["was committed"],
    },
    Double {
        name: "a source that drops its copy as soon as it is frozen",
        defects: engine(Defect::DropsEarly),
        profile: "calm",
        operated: true,
        on: &[("openraft", 0..10)],
        words: &["before the copy was compared"],
    },
];

#[test]
fn every_broken_double_is_noticed() {
    let wanted = std::env::var("SIM_DOUBLE").unwrap_or_default();
    let engines = std::env::var("SIM_MIX").unwrap_or_default();
    let doubles = DOUBLES.iter().filter(|double| double.name.contains(&wanted));
    let each = doubles.flat_map(|double| double.on.iter().map(move |(mix, seeds)| (double, *mix, seeds)));
    let each = each.filter(|(_, mix, _)| mix.contains(&engines));
    let unnoticed: Vec<String> =
        each.filter_map(|(double, mix, seeds)| notice(double, mix, seeds).err()).collect();
    assert!(unnoticed.is_empty(), "{}", unnoticed.join("\n"));
}

#[test]
fn chance_from_elsewhere_is_noticed() {
    let scenario = Scenario { defects: engine(Defect::DrawsFromElsewhere), ..Scenario::of(0) };
    let digest = || run(&scenario).map(|passed| passed.digest).unwrap_or_else(|broken| panic!("{broken}"));
    assert_ne!(digest(), digest(), "two runs that draw from elsewhere are the same");
}

fn notice(double: &Double, engines: &str, seeds: &Range<u64>) -> Result<(), String> {
    let profile = chaos::profile(double.profile).expect("one of the profiles");
    let mix = mix(engines).expect("one of the mixes");
    let name = format!("{} ({engines})", double.name);
    // To look for another one.
    let first = std::env::var("SIM_FIRST").ok().and_then(|first| first.parse().ok()).unwrap_or(seeds.start);
    for seed in first..seeds.end {
        let Double { defects, operated, .. } = *double;
        let scenario = Scenario { profile, mix, defects, operated, ..Scenario::of(seed) };
        let Err(broken) = run(&scenario) else { continue };
        println!("{name}: noticed with seed {seed}: {}", broken.what);
        return match double.words.iter().any(|words| broken.what.contains(words)) {
            true => Ok(()),
            false => {
                Err(format!("{name}: noticed with seed {seed}, but not for what it is: {}", broken.what))
            }
        };
    }
    Err(format!("{name}: not noticed with seeds {seeds:?}"))
}
