//! How fast a copy is on the clock of [`super::timed`]: what it waits, how large its pieces are, what it tells.

use shardbearer_core::migration::Phase;

use super::timed::{KIB, Timed, put};
use super::*;
use crate::migration::{Driver, Effect, Event, Failure, PIECE_MAX, PIECE_MIN, Pace};

/// Only steps that take long say that clients wait; the driver has to pass that on.
#[test]
fn a_copy_waits_longer_between_chunks_when_steps_take_longer() {
    let mut timed = Timed::with(120, 64 * KIB, Pace::of_pieces(64 << 10));
    timed.until("some rows", |timed| timed.world.part(1).rows >= 40);
    let quick_ms = timed.waited.drain(..).max().unwrap_or(0);
    timed.import_ms = 100;
    timed.until("more", |timed| timed.world.part(1).rows >= 60);
    let slow_ms = timed.waited.drain(..).max().unwrap_or(0);
    timed.import_ms = 4;
    timed.until("the image", Timed::complete);
    let last_ms = timed.waited.last().copied().unwrap_or(0);
    assert!(quick_ms < 10 && slow_ms > 100 && last_ms < slow_ms, "{quick_ms}, {slow_ms}, {last_ms}");
    assert_eq!(timed.ends().0, Phase::Collected);
}

#[test]
fn steps_grow_while_nobody_waits_and_shrink_when_clients_do() {
    let mut timed = Timed::new(3_000, 16 * KIB);
    let began_ms = timed.now_ms;
    timed.until("most of it", |timed| timed.world.part(1).rows >= 2_000);
    let took_ms = timed.now_ms - began_ms;
    assert!(took_ms < 1_500, "31 MiB in {took_ms} ms");
    let largest = timed.imports.drain(..).max().unwrap_or(0);
    assert!((PIECE_MAX..PIECE_MAX + 17_000).contains(&largest), "{largest}");
    timed.writes_us = Some(1_000);
    timed.until("some more", |timed| timed.world.part(1).rows >= 2_200);
    timed.writes_us = Some(50_000);
    timed.until("the image", Timed::complete);
    let last = timed.imports[timed.imports.len() - 2];
    assert!(last < PIECE_MIN + 17_000, "{:?}", timed.imports);
    assert_eq!(timed.ends().0, Phase::Collected);
    assert!(timed.read < 3_200, "{} rows read: what was read ahead was read for something", timed.read);
}

#[test]
fn rounds_of_changes_wait_too_but_not_the_last() {
    let mut timed = Timed::with(30, 64 * KIB, Pace::of_pieces(64 << 10));
    timed.until("some rows", |timed| timed.world.part(1).rows >= 10);
    timed.import_ms = 100;
    timed.until("the image", Timed::complete);
    (0..20).for_each(|row| put(&mut timed.world, &format!("row-{row:04}"), 64 * KIB));
    timed.waited.clear();
    let there = |timed: &Timed| timed.world.part(1).progress.through == timed.world.part(0).noted;
    timed.until("the last round", there);
    let long = timed.waited.iter().filter(|ms| **ms > 100).count();
    assert!(long >= 15, "{:?}", timed.waited);
    timed.waited.clear();
    timed.until("frozen", |timed| timed.phase() == Phase::Frozen);
    assert_eq!(timed.waited, Vec::<u64>::new(), "what changes meanwhile would have to cross in the pause");
    assert_eq!(timed.ends().0, Phase::Collected);
}

#[test]
fn the_rate_that_is_told_is_what_was_copied() {
    let mut timed = Timed::new(100, 64 * KIB);
    timed.import_ms = 100;
    let began_ms = timed.now_ms;
    timed.until("eight seconds", |timed| timed.now_ms >= began_ms + 8_000);
    let report = timed.world.record().expect("copying").report;
    let rate = report.bytes * 1_000 / (timed.now_ms - began_ms);
    assert!((rate / 2..rate * 2).contains(&report.rate), "{} reported, {rate} measured", report.rate);
}

/// How long the driver waits between the steps in which rows are weighed, if each takes so long.
fn waits_while_weighing(took_ms: u64) -> Vec<u64> {
    let mut world = World::to_be_split();
    let record = world.record().expect("planned");
    let (id, mut driver) = (record.id, Driver::new(record, Pace::default()));
    let (mut now_ms, mut event, mut waits) = (0, Event::Waited, Vec::new());
    loop {
        event = match driver.step(now_ms, event) {
            Effect::Look => Event::Looked(world.record().map(Box::new), world.part(1)),
            Effect::Wait(ms) => {
                now_ms += ms;
                waits.push(ms);
                Event::Waited
            }
            Effect::Control(change, why) => {
                let changed = world.change_because(change, &why);
                Event::Control(changed.map_err(|why| Failure { why, disk_full: false }))
            }
            Effect::Own(step) => Event::Own(Ok(world.step(1, migrate(id, step)))),
            Effect::Source(step @ Step::Watch { .. }) => {
                now_ms += took_ms;
                Event::Source(Ok(world.step(0, migrate(id, step))))
            }
            Effect::Source(_) | Effect::Both { .. } | Effect::Over => return waits,
        };
    }
}

/// Two rows are three steps: the last finds that there are no more.
#[test]
fn others_have_the_source_while_rows_are_weighed() {
    assert_eq!(waits_while_weighing(1), [7, 7], "64 KiB at 8 MiB/s");
    assert_eq!(waits_while_weighing(50), [50, 50], "half of the time");
}
