//! The profiles of runs.

use super::Fault::{self, *};
use crate::net::Weather;

/// What kind of run it is.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// By which it is chosen.
    pub name: &'static str,
    /// Faults, each as likely as the others.
    pub faults: &'static [Fault],
    /// Between the end of one and the beginning of the next, in milliseconds.
    pub pause_ms: (u64, u64),
    /// How messages fare.
    pub weather: Weather,
    /// Radiants damaged at once, at most, if the engines tolerate so many; `usize::MAX` crashes all at once.
    pub budget: usize,
    /// Largest drift of a clock, in millionths.
    pub drift_ppm: i64,
}

const ROUGH: Weather =
    Weather { lost: 0.02, doubled: 0.05, late: 0.05, usual_ms: (0, 3), late_ms: (10, 400) };

/// The profiles, by which a seed chooses unless told.
pub const PROFILES: &[Profile] = &[
    Profile {
        name: "calm",
        faults: &[],
        pause_ms: (1_000, 1_000),
        weather: Weather::FAIR,
        budget: 0,
        drift_ppm: 0,
    },
    Profile {
        name: "net",
        faults: &[Isolation, OneWay, Parting, Clog],
        pause_ms: (100, 1_500),
        weather: ROUGH,
        budget: 1,
        drift_ppm: 0,
    },
    Profile {
        name: "crash",
        faults: &[Crash, Crash, Outage, Restart],
        pause_ms: (100, 1_500),
        weather: Weather::FAIR,
        budget: 1,
        drift_ppm: 0,
    },
    Profile {
        name: "pause",
        faults: &[Pause, Pause, Pause, Jump],
        pause_ms: (50, 600),
        weather: Weather::FAIR,
        budget: 1,
        drift_ppm: 20_000,
    },
    Profile {
        name: "slow",
        faults: &[Pause, Jump, SlowDisk, Clog, Swizzle],
        pause_ms: (100, 1_500),
        weather: Weather::FAIR,
        budget: 1,
        drift_ppm: 20_000,
    },
    Profile {
        name: "disk",
        faults: &[FailingDisk, FullDisk, SlowDisk, Crash],
        pause_ms: (100, 1_500),
        weather: Weather::FAIR,
        budget: 1,
        drift_ppm: 0,
    },
    Profile {
        name: "data",
        faults: &[FailingData, FailingData, TurnedBit, TurnedBit, SlowData, Crash],
        pause_ms: (50, 600),
        weather: Weather::FAIR,
        budget: 1,
        drift_ppm: 0,
    },
    Profile {
        name: "all-crash",
        faults: &[Crash],
        pause_ms: (500, 4_000),
        weather: Weather::FAIR,
        budget: usize::MAX,
        drift_ppm: 0,
    },
    Profile {
        name: "everything",
        faults: &[
            Crash,
            Outage,
            Restart,
            Pause,
            Isolation,
            OneWay,
            Parting,
            Clog,
            Jump,
            SlowDisk,
            FailingDisk,
            FullDisk,
            Swizzle,
            FailingData,
            SlowData,
            TurnedBit,
        ],
        pause_ms: (0, 1_000),
        weather: ROUGH,
        budget: 1,
        drift_ppm: 20_000,
    },
    Profile {
        name: "points",
        faults: &[AtAPoint],
        pause_ms: (50, 300),
        weather: Weather::FAIR,
        budget: 1,
        drift_ppm: 0,
    },
    // For orders of five, which go on with three. Others are damaged one at a time.
    Profile {
        name: "pairs",
        faults: &[Crash, Outage, Pause, Isolation, OneWay, Parting, Clog, SlowDisk, FailingDisk],
        pause_ms: (0, 1_000),
        weather: ROUGH,
        budget: 2,
        drift_ppm: 20_000,
    },
];

/// The profile of that name.
pub fn profile(name: &str) -> Option<&'static Profile> {
    PROFILES.iter().find(|profile| profile.name == name)
}
