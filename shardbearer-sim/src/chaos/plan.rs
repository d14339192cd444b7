//! The plan of a run: which fault befalls whom, and when.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::Fault::{self, *};
use super::{Act, Profile, Step};
use crate::disk::points::Point;
use crate::disk::{Kept, Pace, Trouble};

/// What a plan is for.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// How many radiants may fail while the engines go on.
    pub tolerated: usize,
    /// How many there are.
    pub radiants: usize,
    /// From when to when faults happen, in milliseconds.
    pub between_ms: (u64, u64),
    /// At which points radiants crash, where they do so at points.
    pub points: &'static [(Point, &'static str)],
}

/// Draws the steps of a run in which faults happen between two moments. Of engines that tolerate fewer failures than the
/// profile does damage at once, fewer radiants are damaged: but one always, since every damage heals, and an engine that
/// tolerates none waits for that.
pub fn plan(profile: &Profile, scope: &Scope, rng: &mut StdRng) -> Vec<Step> {
    let Scope { tolerated, radiants, between_ms: (from_ms, to_ms), points } = *scope;
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
        let lasts = lasts_ms(fault, points, rng);
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
            match fault {
                Swizzle => steps.extend(swizzle(victim, radiants, now, lasts, rng)),
                FailingData | TurnedBit => steps.extend(ill(fault, victim, now, lasts, rng)),
                AtAPoint => steps.extend(aimed(points, victim, now, lasts, rng)),
                _ => steps.extend(plain(fault, victim, other, now, lasts, rng)),
            }
        }
        begins[lane] = now + lasts + pause(rng);
    }
    steps.sort_by_key(|step| step.at_ms);
    steps
}

/// Shortest time in which a radiant is cut off for long, and crashes after that.
const LONG_MS: u64 = 3_500;

fn takes_long(point: &Point, rng: &mut StdRng) -> bool {
    let either = point.deed.cut_off_ms(false).is_some() && rng.random_bool(0.5);
    point.deed.cut_off_ms(true).is_some() && !either
}

fn slow(rng: &mut StdRng) -> Pace {
    Pace { sync_ms_min: 20, sync_ms_max: rng.random_range(50..800), stall_every: 100 }
}

fn lasts_ms(fault: Fault, points: &[(Point, &str)], rng: &mut StdRng) -> u64 {
    match fault {
        Crash | Restart | FailingDisk | FailingData => rng.random_range(50..1_500),
        Outage => rng.random_range(3_000..6_000),
        Pause | Isolation | OneWay | Parting | Clog | SlowDisk | FullDisk | SlowData | Swizzle => {
            rng.random_range(100..3_000)
        }
        TurnedBit => rng.random_range(300..2_000),
        AtAPoint => match points.choose(rng) {
            Some((point, _)) if takes_long(point, rng) => rng.random_range(LONG_MS..LONG_MS + 500),
            Some(_) | None => rng.random_range(1_000..2_000),
        },
        Jump => 100,
    }
}

/// A fault with a beginning and an end.
fn plain(fault: Fault, victim: usize, other: usize, now: u64, lasts: u64, rng: &mut StdRng) -> Vec<Step> {
    let mut steps = Vec::new();
    let (begin, end) = acts(fault, victim, other, lasts, rng);
    let mut at_ms = now;
    if matches!(begin, Act::Crash(_) | Act::Fail(..)) && rng.random_bool(0.5) {
        steps.push(Step { at_ms, act: Act::Pace(victim, slow(rng)) });
        at_ms += rng.random_range(20..lasts.min(300));
        steps.push(Step { at_ms, act: Act::Pace(victim, Pace::USUAL) });
    }
    steps.push(Step { at_ms, act: begin });
    steps.extend(end.map(|act| Step { at_ms: now + lasts, act }));
    steps
}

/// The ways of one radiant are clogged one after another, and go on one after another in another order: as FoundationDB does it,
/// because most of what is wrong needs that some messages are held up and others are not.
fn swizzle(victim: usize, radiants: usize, now: u64, lasts: u64, rng: &mut StdRng) -> Vec<Step> {
    let others = (0..radiants).filter(|other| *other != victim);
    let ways = others.flat_map(|other| [(victim, other), (other, victim)]);
    let ways = ways.map(|(from, to)| {
        let begin = rng.random_range(0..=lasts / 2);
        let end = rng.random_range(begin.max(lasts / 2)..=lasts);
        Step { at_ms: now + begin, act: Act::ClogWay(from, to, end - begin) }
    });
    ways.collect()
}

/// What is wrong with a disk until it is mended, whoever starts meanwhile.
fn ill(fault: Fault, victim: usize, now: u64, lasts: u64, rng: &mut StdRng) -> Vec<Step> {
    let begin = match fault {
        TurnedBit => Act::Turn(victim, *[Kept::Log, Kept::Data, Kept::NextRead].choose(rng).expect("three")),
        _ => Act::Fail(victim, *[Trouble::FailingData, Trouble::NoRoom].choose(rng).expect("two")),
    };
    let mut steps = vec![Step { at_ms: now, act: begin }];
    // What a start reads is more than what is read while a radiant runs.
    for _ in 0..rng.random_range(1..4) {
        steps.push(Step { at_ms: now + rng.random_range(20..lasts), act: Act::Restart(victim) });
    }
    steps.push(Step { at_ms: now + lasts, act: Act::Mend(victim) });
    steps.push(Step { at_ms: now + lasts, act: Act::Start(victim) });
    steps
}

/// A crash at a point that the radiant comes by, or else somewhere when the time is up.
fn aimed(points: &[(Point, &str)], victim: usize, now: u64, lasts: u64, rng: &mut StdRng) -> Vec<Step> {
    let cut_off = |point: Point| Some((point, point.deed.cut_off_ms(lasts >= LONG_MS)?));
    let fitting: Vec<_> = points.iter().filter_map(|(point, _)| cut_off(*point)).collect();
    let Some((point, cut_off_ms)) = fitting.choose(rng).cloned() else { return Vec::new() };
    let aims = now + rng.random_range(cut_off_ms);
    let mut steps = Vec::new();
    if aims > now {
        steps.push(Step { at_ms: now, act: Act::Isolate(victim, true) });
        steps.push(Step { at_ms: aims, act: Act::Isolate(victim, false) });
    }
    let spared = rng.random_range(0..point.deed.often());
    steps.push(Step { at_ms: aims, act: Act::Aim(victim, point, spared) });
    steps.push(Step { at_ms: now + lasts, act: Act::Start(victim) });
    steps
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
        SlowData => (Act::PaceData(victim, rng.random_range(20..600)), Some(Act::PaceData(victim, 0))),
        Swizzle | FailingData | TurnedBit | AtAPoint => unreachable!("they have more steps than two"),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::super::{PROFILES, profile};
    use super::*;
    use crate::disk::points::POINTS;

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
        let scope = Scope { tolerated, radiants: 5, between_ms: (1_000, 20_000), points: POINTS };
        let steps = plan(profile, &scope, &mut StdRng::seed_from_u64(seed));
        assert!(!steps.is_empty(), "{} {seed}", profile.name);
        assert!(steps.iter().all(|step| step.at_ms < 20_000));
        let (mut down, mut most) = (0, 0);
        for step in steps {
            down += match step.act {
                Act::Crash(_) | Act::Stop(_) | Act::Aim(..) | Act::Fail(..) | Act::Turn(..) => 1,
                Act::Start(_) => -1,
                _ => 0,
            };
            assert!(down >= 0, "{} {seed}", profile.name);
            most = most.max(down);
        }
        assert_eq!(down, 0, "{} {seed}", profile.name);
        most
    }

    #[test]
    fn ways_go_on_in_another_order_than_they_were_clogged() {
        let mut other_order = 0;
        for seed in 0..50 {
            let mut steps = swizzle(1, 5, 1_000, 2_000, &mut StdRng::seed_from_u64(seed));
            assert_eq!(steps.len(), 8, "there and back, to and from four");
            let end = |step: &Step| match step.act {
                Act::ClogWay(from, to, lasts) if (from == 1) != (to == 1) => step.at_ms + lasts,
                _ => panic!("{step:?}"),
            };
            assert!(steps.iter().all(|step| end(step) <= 3_000));
            steps.sort_by_key(|step| step.at_ms);
            other_order += usize::from(!steps.is_sorted_by_key(end));
        }
        assert!(other_order > 40, "only {other_order} of 50");
    }
}
