//! Which faults happen when: drawn before the run from its seed, so that the plan can be read.
//!
//! A fault has a beginning and an end, and damages one radiant (a cut between two damages one of them). Never more radiants
//! are damaged at once than the profile's budget says.

use rand::Rng;
use rand::rngs::StdRng;

use crate::disk::{Pace, Trouble};
use crate::net::Weather;

/// Something that is done to a cluster. Radiants are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Act {
    /// Kill the radiant, with what its disk had not synced.
    Crash(usize),
    /// Stop it in an orderly way.
    Stop(usize),
    /// Start it again.
    Start(usize),
    /// Stop giving it the processor, or go on.
    Pause(usize, bool),
    /// Cut it off in both directions, or mend that.
    Isolate(usize, bool),
    /// Cut what it says (`true` first) or what it hears, or mend that.
    Mute(usize, bool, bool),
    /// Cut the ways between two, or mend them.
    Part(usize, usize, bool),
    /// Hold all it says for so many milliseconds.
    Clog(usize, u64),
    /// Move its wall clock by so many milliseconds.
    Jump(usize, i64),
    /// Change how long its disk takes.
    Pace(usize, Pace),
    /// Make its disk fail so; the radiant may stop.
    Fail(usize, Trouble),
    /// Make its disk full, or give it space.
    Fill(usize, bool),
    /// Change the network for all.
    Weather(Weather),
}

impl Act {
    /// The kind of damage, where it begins; `None` for what ends one.
    pub fn damage(&self) -> Option<&'static str> {
        Some(match self {
            Act::Crash(_) => "crash",
            Act::Stop(_) => "orderly stop",
            Act::Pause(_, true) => "pause",
            Act::Isolate(_, true) => "isolation",
            Act::Mute(_, _, true) => "one-way cut",
            Act::Part(_, _, true) => "cut between two",
            Act::Clog(..) => "clog",
            Act::Jump(..) => "clock jump",
            Act::Pace(_, pace) if *pace != Pace::USUAL => "slow disk",
            Act::Fail(_, Trouble::Unreadable) => "unreadable disk",
            Act::Fail(_, Trouble::Damaged) => "damaged disk",
            Act::Fail(..) => "failing disk",
            Act::Fill(_, true) => "full disk",
            _ => return None,
        })
    }
}

impl Act {
    /// Who is damaged from now on (`true`) or no longer, if it lasts until another act ends it.
    pub fn damaged(&self) -> Option<(usize, bool)> {
        Some(match *self {
            Act::Crash(one) | Act::Stop(one) | Act::Fail(one, _) => (one, true),
            Act::Start(one) => (one, false),
            Act::Pause(one, begins)
            | Act::Isolate(one, begins)
            | Act::Mute(one, _, begins)
            | Act::Part(one, _, begins)
            | Act::Fill(one, begins) => (one, begins),
            Act::Pace(one, pace) => (one, pace != Pace::USUAL),
            Act::Clog(..) | Act::Jump(..) | Act::Weather(_) => return None,
        })
    }
}

/// An act and its moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Milliseconds since the beginning.
    pub at_ms: u64,
    /// What is done.
    pub act: Act,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Crash and restart.
    Crash,
    /// An outage so long that others compact their logs meanwhile.
    Outage,
    /// An orderly restart.
    Restart,
    /// A pause.
    Pause,
    /// Isolation.
    Isolation,
    /// A cut in one direction.
    OneWay,
    /// A cut between two.
    Parting,
    /// A clog.
    Clog,
    /// A jump of the wall clock.
    Jump,
    /// A slow disk.
    SlowDisk,
    /// A disk that fails when it is written to, cannot be read, or gives back other bytes.
    FailingDisk,
    /// A full disk.
    FullDisk,
}

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

use Fault::*;

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
        faults: &[Pause, Jump, SlowDisk, Clog],
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
        ],
        pause_ms: (0, 1_000),
        weather: ROUGH,
        budget: 1,
        drift_ppm: 20_000,
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

/// Draws the steps of a run in which faults happen between two moments. Of engines that tolerate fewer failures than the
/// profile does damage at once, fewer radiants are damaged: but one always, since every damage heals, and an engine that
/// tolerates none waits for that.
pub fn plan(
    profile: &Profile,
    tolerated: usize,
    radiants: usize,
    (from_ms, to_ms): (u64, u64),
    rng: &mut StdRng,
) -> Vec<Step> {
    let mut steps = Vec::new();
    if profile.faults.is_empty() {
        return steps;
    }
    let lanes = if profile.budget == usize::MAX { 1 } else { profile.budget.min(tolerated.max(1)) };
    // Until when a radiant is damaged, by the faults drawn so far.
    let mut damaged = vec![0; radiants];
    let pause = |rng: &mut StdRng| 10 + rng.random_range(profile.pause_ms.0..=profile.pause_ms.1);
    // When each lane's next fault begins. Faults are drawn in the order in which they begin, whatever their lane: only so
    // is it known who is damaged then. There are fewer lanes than radiants, so somebody is not.
    let mut begins: Vec<u64> = (0..lanes).map(|_| from_ms + pause(rng)).collect();
    while let Some(lane) = (0..lanes).min_by_key(|lane| begins[*lane]).filter(|lane| begins[*lane] < to_ms) {
        let mut now = begins[lane];
        let fault = profile.faults[rng.random_range(0..profile.faults.len())];
        let lasts = lasts_ms(fault, rng);
        if now + lasts >= to_ms {
            begins[lane] = now + pause(rng);
            continue;
        }
        if profile.budget == usize::MAX {
            let slow = rng.random_bool(0.5).then(|| slow(rng));
            let begin = now;
            if slow.is_some() {
                // A slow disk has more to lose.
                now += rng.random_range(20..300);
            }
            for radiant in 0..radiants {
                if let Some(slow) = slow {
                    steps.push(Step { at_ms: begin, act: Act::Pace(radiant, slow) });
                    steps.push(Step { at_ms: now, act: Act::Pace(radiant, Pace::USUAL) });
                }
                steps.push(Step { at_ms: now, act: Act::Crash(radiant) });
                let back = now + lasts + rng.random_range(0..500);
                steps.push(Step { at_ms: back, act: Act::Start(radiant) });
            }
        } else {
            let well: Vec<usize> = (0..radiants).filter(|radiant| damaged[*radiant] <= now).collect();
            let victim = well[rng.random_range(0..well.len())];
            damaged[victim] = now + lasts;
            let other = (victim + rng.random_range(1..radiants)) % radiants;
            let (begin, end) = acts(fault, victim, other, lasts, rng);
            let mut at_ms = now;
            if matches!(begin, Act::Crash(_) | Act::Fail(..)) && rng.random_bool(0.5) {
                steps.push(Step { at_ms, act: Act::Pace(victim, slow(rng)) });
                at_ms += rng.random_range(20..lasts.min(300));
                steps.push(Step { at_ms, act: Act::Pace(victim, Pace::USUAL) });
            }
            steps.push(Step { at_ms, act: begin });
            steps.extend(end.map(|act| Step { at_ms: now + lasts, act }));
        }
        begins[lane] = now + lasts + pause(rng);
    }
    steps.sort_by_key(|step| step.at_ms);
    steps
}

fn slow(rng: &mut StdRng) -> Pace {
    Pace { sync_ms_min: 20, sync_ms_max: rng.random_range(50..800), stall_every: 100 }
}

fn lasts_ms(fault: Fault, rng: &mut StdRng) -> u64 {
    match fault {
        Crash | Restart | FailingDisk => rng.random_range(50..1_500),
        Outage => rng.random_range(3_000..6_000),
        Pause | Isolation | OneWay | Parting | Clog | SlowDisk | FullDisk => rng.random_range(100..3_000),
        Jump => 100,
    }
}

fn acts(fault: Fault, victim: usize, other: usize, lasts: u64, rng: &mut StdRng) -> (Act, Option<Act>) {
    match fault {
        Crash | Outage => (Act::Crash(victim), Some(Act::Start(victim))),
        Restart => (Act::Stop(victim), Some(Act::Start(victim))),
        Pause => (Act::Pause(victim, true), Some(Act::Pause(victim, false))),
        Isolation => (Act::Isolate(victim, true), Some(Act::Isolate(victim, false))),
        OneWay => {
            let says = rng.random_bool(0.5);
            (Act::Mute(victim, says, true), Some(Act::Mute(victim, says, false)))
        }
        Parting => (Act::Part(victim, other, true), Some(Act::Part(victim, other, false))),
        Clog => (Act::Clog(victim, lasts), None),
        Jump => (Act::Jump(victim, rng.random_range(-3_600_000..3_600_000)), None),
        SlowDisk => (Act::Pace(victim, slow(rng)), Some(Act::Pace(victim, Pace::USUAL))),
        FailingDisk => {
            let troubles = [Trouble::Failing, Trouble::Unreadable, Trouble::Damaged];
            let trouble = troubles[rng.random_range(0..troubles.len())];
            (Act::Fail(victim, trouble), Some(Act::Start(victim)))
        }
        FullDisk => (Act::Fill(victim, true), Some(Act::Fill(victim, false))),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_profile_makes_plans_that_end_in_time_and_never_damage_two_at_once() {
        for profile in PROFILES.iter().filter(|profile| profile.budget == 1) {
            for seed in 0..50 {
                assert!(most_at_once(profile, 1, seed) <= 1, "{} {seed}", profile.name);
            }
        }
    }

    #[test]
    fn as_many_are_damaged_at_once_as_profile_and_engines_allow() {
        let pairs = profile("pairs").expect("one of the profiles");
        let most = |tolerated| (0..50).map(|seed| most_at_once(pairs, tolerated, seed)).max();
        assert_eq!(most(0), Some(1), "every damage heals, and who tolerates none waits for that");
        assert_eq!(most(1), Some(1));
        assert_eq!(most(2), Some(2));
        assert_eq!(most(3), Some(2));
    }

    /// How many processes are down at once, at most.
    fn most_at_once(profile: &Profile, tolerated: usize, seed: u64) -> i32 {
        let steps = plan(profile, tolerated, 5, (1_000, 20_000), &mut StdRng::seed_from_u64(seed));
        assert!(!steps.is_empty(), "{} {seed}", profile.name);
        assert!(steps.iter().all(|step| step.at_ms < 20_000));
        let (mut down, mut most) = (0, 0);
        for step in steps {
            down += match step.act {
                Act::Crash(_) | Act::Stop(_) | Act::Fail(..) => 1,
                Act::Start(_) => -1,
                _ => 0,
            };
            assert!(down >= 0, "{} {seed}", profile.name);
            most = most.max(down);
        }
        assert_eq!(down, 0, "{} {seed}", profile.name);
        most
    }
}
