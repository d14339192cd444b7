//! Broken doubles: what the simulation must notice, and within how many seeds. A check that was never seen to fail
//! proves nothing.

mod beacons;
mod engines;

use std::ops::Range;

use shardbearer::engine::Engines;
use shardbearer_sim::chaos;
use shardbearer_sim::disk::Flaw;

pub use self::beacons::Agreeable;
use self::engines::{Defect, with};
use super::mixes::MIXES;
use super::run::{Scenario, run};

/// What is wrong with a cluster; by default nothing.
#[derive(Clone, Copy)]
pub struct Defects {
    pub disk: Option<Flaw>,
    pub engines: fn() -> Engines,
    pub agreeable: bool,
}

const NONE: Defects = Defects { disk: None, engines: Engines::default, agreeable: false };

impl Default for Defects {
    fn default() -> Self {
        NONE
    }
}

/// A promise that is broken on purpose.
struct Double {
    name: &'static str,
    defects: Defects,
    profile: &'static str,
    /// Within which it has to be noticed. Begins where it is, so that this takes one run.
    seeds: Range<u64>,
    /// One of which the verdict contains.
    words: &'static [&'static str],
}

const DOUBLES: &[Double] = &[
    Double {
        name: "a log that acknowledges before it is durable",
        defects: Defects { disk: Some(Flaw::AcksBeforeDurable), ..NONE },
        profile: "all-crash",
        seeds: 0..40,
        words: &["was answered before", "differ", "is both", "after", "made twice", "should have"],
    },
    Double {
        name: "a disk that forgets votes",
        defects: Defects { disk: Some(Flaw::ForgetsHardState), ..NONE },
        profile: "all-crash",
        seeds: 0..10,
        words: &["two heralds"],
    },
    Double {
        name: "a storage that loses rows",
        defects: Defects { disk: Some(Flaw::LosesRows), ..NONE },
        profile: "calm",
        seeds: 0..5,
        words: &["applied the same and differ"],
    },
    Double {
        name: "an order that forgets who asked, so that a repeated request applies twice",
        defects: Defects { engines: || with(Defect::Forgetful), ..NONE },
        profile: "net",
        seeds: 0..10,
        words: &["took effect twice", "should have", "made twice"],
    },
    Double {
        name: "a herald that answers reads without asking whether it still is one",
        defects: Defects { engines: || with(Defect::Hasty), ..NONE },
        profile: "pause",
        seeds: 6..40,
        words: &["was answered before"],
    },
    Double {
        name: "founders that are said to agree without having been asked",
        defects: Defects { agreeable: true, ..NONE },
        profile: "calm",
        seeds: 9..40,
        words: &["two clusters"],
    },
];

#[test]
fn every_broken_double_is_noticed() {
    let wanted = std::env::var("SIM_DOUBLE").unwrap_or_default();
    let doubles = DOUBLES.iter().filter(|double| double.name.contains(&wanted));
    let unnoticed: Vec<String> = doubles.filter_map(|double| notice(double).err()).collect();
    assert!(unnoticed.is_empty(), "{}", unnoticed.join("\n"));
}

fn notice(double: &Double) -> Result<(), String> {
    let profile = chaos::profile(double.profile).expect("one of the profiles");
    for seed in double.seeds.clone() {
        let Err(broken) = run(&Scenario { seed, profile, mix: &MIXES[0], defects: double.defects }) else {
            continue;
        };
        println!("{}: noticed with seed {seed}: {}", double.name, broken.what);
        return match double.words.iter().any(|words| broken.what.contains(words)) {
            true => Ok(()),
            false => Err(format!("{}: noticed, but not for what it is: {}", double.name, broken.what)),
        };
    }
    Err(format!("{}: not noticed with seeds {:?}", double.name, double.seeds))
}
