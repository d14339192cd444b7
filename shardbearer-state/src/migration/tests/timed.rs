//! A driver on the clock: what slow orders, a full disk and writers without end do to a copy. The clock is a number; it
//! moves by what each step takes and by what the driver waits.

use shardbearer_core::kv::{Condition, Expiry, Part, Standing, rows_weight};
use shardbearer_core::migration::Phase;

use super::*;
use crate::migration::{Attendant, Driver, Duty, Effect, Event, FROZEN_MS_MAX, Failure, Pace};

const FULL: &str = "the destination: no room";
pub(super) const KIB: usize = 1 << 10;

/// Both orders, the driver, the source's attendant, and writers.
pub(super) struct Timed {
    pub(super) world: World,
    pub(super) driver: Driver,
    effect: Effect,
    attendant: Attendant,
    pub(super) now_ms: u64,
    /// How long the destination takes for an import.
    pub(super) import_ms: u64,
    /// Whether the destination's disk is full.
    full: bool,
    /// Whether the source answers nothing.
    gone: bool,
    /// Whether the source serves on where it should drop its copy.
    keeps: bool,
    /// Rows that are written before every question to the source, and how large.
    busy: (usize, usize),
    /// How long clients' writes take at the source, in microseconds, if there are any.
    pub(super) writes_us: Option<u64>,
    /// How long the driver waited between chunks, since it was last looked at.
    pub(super) waited: Vec<u64>,
    /// How many bytes of rows each import had, since it was last looked at.
    pub(super) imports: Vec<u64>,
    /// How many rows of the image were read.
    pub(super) read: u64,
}

impl Timed {
    /// A shard with so many rows of so many bytes.
    pub(super) fn new(rows: usize, bytes: usize) -> Timed {
        Timed::with(rows, bytes, Pace::default())
    }

    pub(super) fn with(rows: usize, bytes: usize, pace: Pace) -> Timed {
        let mut world = World::new();
        (0..rows).for_each(|row| put(&mut world, &format!("row-{row:04}"), bytes));
        world.change(MigrationChange::Plan { shard: SHARD, to: ORDERS[1] }).expect("nothing moves");
        let driver = Driver::new(world.record().expect("planned"), pace);
        Timed {
            world,
            driver,
            effect: Effect::Wait(0),
            attendant: Attendant::default(),
            now_ms: 1_000_000,
            import_ms: 4,
            full: false,
            gone: false,
            keeps: false,
            busy: (0, 0),
            writes_us: None,
            waited: Vec::new(),
            imports: Vec::new(),
            read: 0,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.world.record().expect("planned").phase
    }

    pub(super) fn complete(&self) -> bool {
        self.world.part(1).progress.complete
    }

    /// One effect of the driver, and what the attendant does meanwhile.
    pub(super) fn act(&mut self) {
        self.now_ms += 1;
        let event = match std::mem::replace(&mut self.effect, Effect::Over) {
            Effect::Over => return,
            Effect::Wait(ms) => {
                self.now_ms += ms;
                self.waited.push(ms);
                Event::Waited
            }
            Effect::Look => Event::Looked(self.world.record().map(Box::new), self.world.part(1)),
            Effect::Own(step) => Event::Own(self.own(step)),
            Effect::Source(step) => Event::Source(self.source(step)),
            Effect::Both { own, source } => {
                let read = self.source(source);
                Event::Both(self.own(own), read)
            }
            Effect::Control(change, why) => {
                let changed = self.world.change_because(change, &why);
                Event::Control(changed.map_err(|why| Failure { why, disk_full: false }))
            }
        };
        self.driver.others_took([self.writes_us, None]);
        self.effect = self.driver.step(self.now_ms, event);
        self.attend();
    }

    fn own(&mut self, step: Step) -> Result<Migrated, Failure> {
        if self.full && matches!(step, Step::Import(_)) {
            return Err(Failure { why: FULL.into(), disk_full: true });
        }
        if let Step::Import(import) = &step {
            self.imports.push(rows_weight(&import.rows) as u64);
        }
        self.now_ms += self.import_ms;
        Ok(self.world.step(1, migrate(self.driver.record().id, step)))
    }

    fn source(&mut self, step: Step) -> Result<Migrated, Failure> {
        if self.gone {
            return Err(Failure { why: "the source: no herald".into(), disk_full: false });
        }
        if !step.is_write() {
            let (rows, bytes) = self.busy;
            (0..rows).for_each(|row| put(&mut self.world, &format!("busy-{row:04}"), bytes));
        }
        if self.keeps && matches!(step, Step::Collect { .. }) {
            let id = self.driver.record().id;
            return Ok(Migrated::Part(Part {
                standing: Standing::Serving,
                migration: id,
                ..Part::default()
            }));
        }
        let answer = self.world.step(0, migrate(self.driver.record().id, step));
        if let Migrated::Image { rows, .. } = &answer {
            self.read += rows.len() as u64;
        }
        Ok(answer)
    }

    fn attend(&mut self) {
        let record = self.world.record().expect("planned");
        match self.attendant.duty(&record, &self.world.part(0), self.now_ms) {
            Duty::Nothing => {}
            Duty::Step(step) => {
                self.world.step(0, migrate(record.id, step));
                self.attendant.done(&record, &self.world.part(0));
            }
            Duty::Control(change, why) => drop(self.world.change_because(change, why)),
        }
    }

    #[track_caller]
    pub(super) fn until(&mut self, what: &str, holds: impl Fn(&Timed) -> bool) {
        for _ in 0..5_000 {
            if holds(self) {
                return;
            }
            self.act();
        }
        panic!("it never comes to this: {what}: {:?}", self.world.record());
    }

    /// Drives to the end; how it ends, and why if it was called off.
    #[track_caller]
    pub(super) fn ends(&mut self) -> (Phase, String) {
        self.until("its end", |timed| timed.phase().is_over());
        (self.phase(), self.world.record().expect("planned").called_off)
    }
}

/// Writes a row at the source, if that serves.
pub(super) fn put(world: &mut World, key: &str, bytes: usize) {
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::from(vec![b'x'; bytes]));
    let command =
        Command::Put { key, value, condition: Condition::Always, expiry: Expiry::Never, previous: false };
    world.apply(0, vec![Item::of(SHARD, command)]);
}

#[test]
fn a_full_disk_is_tried_for_ten_seconds_and_is_the_reason() {
    let mut timed = Timed::new(4, 64 * KIB);
    timed.full = true;
    timed.until("copying", |timed| timed.phase() == Phase::Copying);
    let since_ms = timed.now_ms;
    timed.until("the reason is told", |timed| {
        timed.world.record().is_some_and(|it| it.report.blocker == FULL)
    });
    assert_eq!(timed.world.record().expect("copying").report.rows, 0, "none has arrived");
    assert_eq!(timed.ends(), (Phase::Returned, format!("test: {FULL}")));
    let took_ms = timed.now_ms - since_ms;
    assert!((10_000..12_000).contains(&took_ms), "{took_ms} ms");
    assert_eq!(timed.world.part(0).standing, Standing::Serving);
}

#[test]
fn room_for_a_chunk_begins_the_ten_seconds_anew() {
    let mut timed = Timed::new(4, 64 * KIB);
    timed.full = true;
    let late_ms = timed.now_ms + 9_000;
    timed.until("nine seconds", |timed| timed.now_ms >= late_ms);
    timed.full = false;
    timed.until("a chunk", |timed| timed.world.part(1).rows > 0);
    timed.full = true;
    timed.until("nine more", |timed| timed.now_ms >= late_ms + 9_000);
    assert_eq!(timed.phase(), Phase::Copying);
    timed.full = false;
    assert_eq!(timed.ends(), (Phase::Collected, String::new()));
}

/// The operator pauses it, makes room and lets it go on: what was before does not count.
#[test]
fn a_pause_is_no_attempt_on_a_full_disk() {
    let mut timed = Timed::new(4, 64 * KIB);
    timed.full = true;
    let late_ms = timed.now_ms + 5_000;
    timed.until("five seconds", |timed| timed.now_ms >= late_ms);
    let id = timed.driver.record().id;
    timed.world.change(MigrationChange::Pause { id, paused: true }).expect("it is copying");
    timed.until("a minute", |timed| timed.now_ms >= late_ms + 60_000);
    timed.world.change(MigrationChange::Pause { id, paused: false }).expect("it is copying");
    timed.until("five seconds", |timed| timed.now_ms >= late_ms + 65_000);
    assert_eq!(timed.phase(), Phase::Copying);
    timed.full = false;
    assert_eq!(timed.ends().0, Phase::Collected);
}

#[test]
fn a_disk_that_is_full_when_the_shard_is_frozen_is_the_reason_too() {
    let mut timed = Timed::new(4, 64 * KIB);
    timed.until("frozen", |timed| timed.world.part(0).standing == Standing::Frozen);
    timed.full = true;
    let since_ms = timed.now_ms;
    timed.until("it serves", |timed| timed.world.part(0).standing == Standing::Serving);
    assert!(timed.now_ms - since_ms < FROZEN_MS_MAX, "{} ms", timed.now_ms - since_ms);
    assert_eq!(timed.ends(), (Phase::Returned, format!("test: {FULL}")));
}

/// The word of an operator arrives while rows cross all the time.
#[test]
fn a_copy_that_goes_on_and_on_is_halted_within_seconds() {
    let mut timed = Timed::new(200, 64 * KIB);
    timed.import_ms = 100;
    let began_ms = timed.now_ms;
    timed.until("three seconds", |timed| timed.now_ms >= began_ms + 3_000);
    let id = timed.driver.record().id;
    timed.world.change(MigrationChange::Pause { id, paused: true }).expect("it is copying");
    timed.until("two seconds", |timed| timed.now_ms >= began_ms + 5_000);
    let rows = timed.world.part(1).rows;
    timed.until("ten more", |timed| timed.now_ms >= began_ms + 15_000);
    assert_eq!(timed.world.part(1).rows, rows);
    assert!((1..200).contains(&rows), "{rows}");
}

/// While many notes wait, rounds of changes come before the rest of the image, and such a round says nothing of the end.
#[test]
fn a_small_round_in_the_midst_of_the_image_is_not_the_last() {
    let mut timed = Timed::new(20, 64 * KIB);
    timed.until("some rows", |timed| timed.world.part(1).rows >= 10);
    let key = Bytes::from_static(b"counter");
    let command = Command::Increment { key, by: 1 };
    timed.world.apply(0, vec![Item::of(SHARD, command); 20_000]);
    timed.until("a round", |timed| timed.world.part(1).progress.through >= 20_000);
    assert!(!timed.complete());
    (0..5).for_each(|row| put(&mut timed.world, &format!("row-{row:04}"), 64 * KIB));
    timed.until("frozen", |timed| timed.phase() == Phase::Frozen);
    assert_eq!(
        timed.world.part(1).progress.through,
        timed.world.part(0).noted,
        "nothing is left for the pause"
    );
    assert_eq!(timed.ends().0, Phase::Collected);
}

#[test]
fn notes_of_a_row_that_is_taken_already_are_answered_with_it() {
    let mut timed = Timed::new(1, KIB);
    timed.until("copying", |timed| timed.world.part(0).standing == Standing::Leaving);
    let id = timed.driver.record().id;
    for key in ["large", "large", "large", "other", "large"] {
        put(&mut timed.world, key, 200 * KIB);
    }
    let mut ask = |after| match timed.world.step(0, migrate(id, Step::Changes { after, bytes: 64 << 10 })) {
        Migrated::Changes { rows, through, seen, .. } => (rows.len(), through, seen),
        other => panic!("{other:?}"),
    };
    assert_eq!(ask(0), (1, 3, 5));
    assert_eq!(ask(3), (1, 4, 5));
    assert_eq!(ask(4), (1, 5, 5));
}

/// Never settles by itself: a row larger than a round that is changed faster than one can be asked for.
#[test]
fn a_large_row_that_changes_all_the_time_moves() {
    let mut timed = Timed::new(4, KIB);
    timed.busy = (1, 200 * KIB);
    assert_eq!(timed.ends(), (Phase::Collected, String::new()));
}

#[test]
fn many_rows_that_change_all_the_time_move_if_they_cross_within_a_pause() {
    let mut timed = Timed::new(4, KIB);
    timed.busy = (20, 32 * KIB);
    assert_eq!(timed.ends(), (Phase::Collected, String::new()));
}

#[test]
fn writers_who_are_faster_than_the_copy_are_told_of_and_keep_their_shard() {
    let mut timed = Timed::new(4, KIB);
    (timed.busy, timed.import_ms) = ((36, 32 * KIB), 100);
    let told = |timed: &Timed| timed.world.record().expect("planned").report.blocker;
    timed.until("it is told", |timed| told(timed).starts_with("rows change as fast as they are copied: "));
    (0..20).for_each(|_| timed.act());
    assert_eq!(timed.phase(), Phase::Copying);
    timed.busy = (0, 0);
    assert_eq!(timed.ends().0, Phase::Collected);
}

/// A round that crosses slowly is not the last, however much is behind it.
#[test]
fn a_round_that_takes_longer_than_a_pause_is_not_the_last() {
    let mut timed = Timed::new(4, KIB);
    timed.busy = (1, 200 * KIB);
    timed.import_ms = 600;
    timed.until("it is told", |timed| !timed.world.record().expect("planned").report.blocker.is_empty());
    (0..50).for_each(|_| timed.act());
    assert_eq!(timed.phase(), Phase::Copying);
    timed.import_ms = 4;
    assert_eq!(timed.ends().0, Phase::Collected);
}

#[test]
fn orders_so_slow_that_a_report_is_always_due_have_their_shard_moved_too() {
    let mut timed = Timed::new(4, KIB);
    (timed.busy, timed.import_ms) = ((1, KIB), 1_000);
    assert_eq!(timed.ends().0, Phase::Collected);
}

#[test]
fn a_source_that_is_gone_when_its_shard_is_served_elsewhere_is_waited_for_three_seconds() {
    let mut timed = Timed::new(4, KIB);
    timed.until("served", |timed| timed.world.part(1).standing.serves());
    timed.gone = true;
    let since = timed.now_ms;
    assert_eq!(timed.ends().0, Phase::Collected);
    let took = timed.now_ms - since;
    assert!((3_000..4_000).contains(&took), "{took} ms");
    assert_eq!(timed.world.part(0).standing, Standing::Frozen, "it was not there to drop its copy");
}

/// Rows are imported and the next ones cannot be read: what was imported counts.
#[test]
fn a_source_that_is_gone_now_and_then_is_read_to_the_end() {
    let mut timed = Timed::with(200, KIB, Pace::of_pieces(4 << 10));
    for turn in 0.. {
        timed.gone = turn % 7 == 0;
        timed.act();
        if timed.phase().is_over() {
            break;
        }
        assert!(turn < 5_000, "{:?}", timed.world.record());
    }
    assert_eq!((timed.phase(), timed.world.part(1).rows), (Phase::Collected, 200));
}

/// Its log was lost in part, so that it has not verified what it has: then the only whole copy is the source's.
#[test]
fn a_source_keeps_its_copy_from_a_destination_that_does_not_serve() {
    let mut timed = Timed::new(4, KIB);
    let before = timed.world.clone();
    timed.until("decided", |timed| timed.phase() == Phase::Serving);
    timed.world.restore(1, &before);
    for _ in 0..200 {
        timed.act();
    }
    assert_eq!((timed.phase(), timed.world.part(0).standing), (Phase::Serving, Standing::Frozen));
}

/// A source that serves has dropped nothing, unless a part of its shard was split off. So it is not taken at its word.
#[test]
fn a_source_that_serves_on_has_not_dropped_its_copy() {
    let mut timed = Timed::new(3, KIB);
    timed.keeps = true;
    timed.until("the destination serves", |timed| timed.world.part(1).standing == Standing::Serving);
    let began_ms = timed.now_ms;
    assert_eq!(timed.ends().0, Phase::Collected);
    assert!(timed.now_ms >= began_ms + 3_000, "after {} ms", timed.now_ms - began_ms);
}
