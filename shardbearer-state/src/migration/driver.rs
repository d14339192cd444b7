//! What the herald of the destination does: see the module for the whole.
//!
//! One thing at a time: [`Driver::step`] takes in what came of the last effect and says the next. After a failure it
//! looks anew at the record and at its own order and begins from there, so a lost answer costs a round and nothing else.

mod effect;
mod hear;
mod measured;

use shardbearer_core::kv::{Import, Part, Progress, Standing, Step};
use shardbearer_core::migration::{Migration, MigrationChange, Phase, Report};

pub use self::effect::{Effect, Event, Failure};
use self::measured::Measured;
use super::FROZEN_MS_MAX;
use super::pace::Pace;

/// Bytes of the last changes in one step, while the shard is frozen and nobody's write overtakes it.
const LAST_BYTES: u64 = 4 << 20;

/// A round of changes that is no larger than this is the last before the shard is frozen: what comes meanwhile
/// crosses within the pause.
const ROUND_BYTES_SMALL: usize = 128 << 10;

/// After so many rounds that brought the end no nearer, rounds are made larger and are not paced any more, and a round
/// that crossed within [`PAUSE_MS_MAX`] will do: its writers are not going to leave less.
const VAIN_ROUNDS_MAX: u32 = 32;

/// Bytes in one of those.
const VAIN_ROUND_BYTES: u64 = 1 << 20;

/// What gathers while a round crosses takes about as long as the round: so long may the last changes of a busy shard keep
/// it frozen.
const PAUSE_MS_MAX: u64 = 500;

/// Notes that may gather at the source while the image is copied; then changes are copied first, so that they stay few
/// however large the shard is.
const BACKLOG_MAX: u64 = 16_384;

/// Time between two reports.
const REPORT_EVERY_MS: u64 = 1_000;

/// Waits after failures, doubling. The first is short because the shard may be frozen.
const WAIT_MS_MIN: u64 = 10;
const WAIT_MS_MAX: u64 = 320;

/// How often a paused migration looks whether it may go on.
const PAUSED_MS: u64 = 200;

/// A destination whose disk is full for so long gives up.
const FULL_MS_MAX: u64 = 10_000;

/// The same while the shard is frozen: its writers wait, and soon the source takes it back without knowing why.
const FULL_FROZEN_MS_MAX: u64 = FROZEN_MS_MAX / 3;

/// Between two steps in which the source drops rows that a split has taken from it: its clients come first.
const PRUNE_PAUSE_MS: u64 = 4;

/// Bytes as which a step counts in which the source weighs rows that are to cross: it reads far more, but nothing is
/// written or sent.
const WEIGHED_BYTES: u64 = 64 << 10;

/// A source that has not dropped its copy so long after the destination began to serve is not waited for: other shards are to
/// move. It does when it is back, because of [`left_over`](super::left_over).
const COLLECT_MS_MAX: u64 = 3_000;

/// Drives one migration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Driver {
    record: Migration,
    part: Part,
    /// Whether record and part are as they were last heard, and nothing has gone wrong since.
    looked: bool,
    /// Whether the source notes changes.
    watched: bool,
    /// Whether the source is known to be frozen.
    frozen: bool,
    /// Whether the source has dropped its copy.
    collected: bool,
    /// The last round of changes was small.
    settled: bool,
    /// Notes that the source may forget.
    forget: Option<u64>,
    /// Rows that are to be imported.
    rows: Option<Import>,
    /// They were read while those before them were imported: there is time to do something else first.
    ahead: bool,
    chunk: Chunk,
    /// Notes that the source had and this order has not, when it was last asked.
    backlog: u64,
    /// The least backlog after any round of changes since the image is complete, if it was more than little.
    backlog_least: u64,
    /// How many of those rounds brought no less. Never less itself: so there is an end to them.
    vain_rounds: u32,
    /// Whether the change under way is the one that decides.
    committing: bool,
    owed_ms: u64,
    failures: u32,
    /// Since when the destination has taken no rows because its disk is full.
    full_since_ms: Option<u64>,
    measured: Measured,
    /// Since when this order serves the shard, as far as known.
    serving_ms: Option<u64>,
    reported_ms: u64,
    report: Report,
    pace: Pace,
    give_up: Option<String>,
}

/// The rows under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Chunk {
    /// When the source was asked for them, in milliseconds.
    since_ms: u64,
    /// When they were sent to the destination's log.
    sent_ms: u64,
    rows: u64,
    bytes: u64,
}

impl Driver {
    /// A driver that has not looked yet. Its first effect is [`Effect::Look`].
    pub fn new(record: Migration, pace: Pace) -> Driver {
        let report = record.report.clone();
        Driver {
            record,
            part: Part::default(),
            looked: false,
            watched: false,
            frozen: false,
            collected: false,
            settled: false,
            forget: None,
            rows: None,
            ahead: false,
            chunk: Chunk::default(),
            backlog: 0,
            backlog_least: u64::MAX,
            vain_rounds: 0,
            committing: false,
            owed_ms: 0,
            failures: 0,
            full_since_ms: None,
            measured: Measured::default(),
            serving_ms: None,
            reported_ms: 0,
            report,
            pace,
            give_up: None,
        }
    }

    /// The record as last known.
    pub fn record(&self) -> &Migration {
        &self.record
    }

    /// Takes in how long clients' writes took lately where the source and the destination are led, in microseconds; `None`:
    /// nothing new is known, or nobody writes.
    pub fn others_took(&mut self, us: [Option<u64>; 2]) {
        if self.record.phase == Phase::Copying {
            self.pace.others_took(us);
        }
    }

    /// Forgets what decides nothing, so that states which differ in it alone are one.
    #[cfg(test)]
    pub(super) fn settle(&mut self) {
        (self.failures, self.report, self.pace) = (0, Report::default(), self.pace.anew());
        (self.chunk, self.measured) = (Chunk::default(), Measured::default());
        self.record.report = Report::default();
    }

    /// Takes in what came of the last effect and says the next. `now_ms` is of any clock that does not go back.
    pub fn step(&mut self, now_ms: u64, event: Event) -> Effect {
        let failure = match event {
            Event::Waited => None,
            Event::Looked(Some(record), part) if record.id == self.record.id => {
                self.look(*record, part);
                None
            }
            // Another migration is under way already, so this one is over.
            Event::Looked(Some(record), _) if record.id > self.record.id => return Effect::Over,
            Event::Looked(_, _) => {
                Some(Failure { why: "the control order does not answer".into(), disk_full: false })
            }
            Event::Control(Ok(epoch)) if self.committing => {
                // The shard is served nowhere at this moment: no time for another look.
                (self.record.phase, self.record.ended) = (Phase::Serving, epoch);
                (self.looked, self.committing) = (true, false);
                None
            }
            Event::Control(result) => result.err(),
            Event::Source(result) => result.map_or_else(Some, |answer| self.hear_source(now_ms, answer)),
            Event::Own(result) => result.map_or_else(Some, |answer| self.hear_own(now_ms, answer)),
            Event::Both(own, source) => {
                // The rows that were read fit on those that were imported, and on nothing else.
                let failure = own.map_or_else(Some, |answer| self.hear_own(now_ms, answer));
                let failure =
                    failure.or_else(|| source.map_or_else(Some, |answer| self.hear_source(now_ms, answer)));
                self.ahead = self.rows.is_some();
                failure
            }
        };
        if let Some(failure) = failure {
            return self.fail(now_ms, failure);
        }
        self.next(now_ms)
    }

    fn look(&mut self, record: Migration, part: Part) {
        (self.record, self.part, self.looked) = (record, part, true);
        (self.watched, self.frozen, self.settled) = (false, false, false);
        (self.rows, self.ahead, self.forget, self.committing) = (None, false, None, false);
    }

    fn fail(&mut self, now_ms: u64, failure: Failure) -> Effect {
        (self.looked, self.committing) = (false, false);
        self.failures = self.failures.saturating_add(1);
        if failure.disk_full {
            let since = *self.full_since_ms.get_or_insert(now_ms);
            let most = if self.record.phase == Phase::Frozen { FULL_FROZEN_MS_MAX } else { FULL_MS_MAX };
            if now_ms.saturating_sub(since) >= most {
                self.give_up = Some(failure.why.clone());
            }
        }
        self.report.blocker = failure.why;
        Effect::Wait((WAIT_MS_MIN << (self.failures - 1).min(10)).min(WAIT_MS_MAX))
    }

    fn next(&mut self, now_ms: u64) -> Effect {
        if !self.looked {
            return Effect::Look;
        }
        let id = self.record.id;
        match self.record.phase {
            Phase::Collected | Phase::Returned => Effect::Over,
            Phase::Planned | Phase::Copying | Phase::Frozen if self.give_up.is_some() => {
                let why = self.give_up.clone().unwrap_or_default();
                self.tell(MigrationChange::Cancel { id }, why)
            }
            Phase::Planned => match self.part.standing {
                // What is left of an earlier one is in the way until it is dropped.
                Standing::Arriving if self.part.migration == id => {
                    self.tell(MigrationChange::Copy { id }, "the destination is ready".into())
                }
                _ => Effect::Own(Step::Begin),
            },
            Phase::Copying => self.copy(now_ms),
            Phase::Frozen => self.complete(),
            Phase::Serving => self.serve(now_ms),
            Phase::Returning => self.give_back(),
        }
    }

    /// A change of the control order; whatever comes of it, the record is read again.
    fn tell(&mut self, change: MigrationChange, why: String) -> Effect {
        self.looked = false;
        Effect::Control(change, why)
    }

    fn copy(&mut self, now_ms: u64) -> Effect {
        let id = self.record.id;
        if !self.ahead
            && let Some(rows) = self.rows.take()
        {
            return self.import(now_ms, rows);
        }
        if self.settled && self.part.progress.complete && !self.record.paused {
            // Before anything that looks again: with slow orders a report is always due, and a look forgets how the last
            // round was.
            return self.tell(MigrationChange::Freeze { id }, "little is left to copy".into());
        }
        let due = now_ms.saturating_sub(self.reported_ms) >= REPORT_EVERY_MS;
        if self.record.paused {
            // Somebody may be making room.
            self.full_since_ms = None;
            self.measured.halt();
        } else if due {
            let known = self.measured.sample(now_ms, self.report.bytes);
            self.report.rate = known.unwrap_or(self.report.rate);
        }
        if due && self.report != self.record.report {
            self.reported_ms = now_ms;
            let report = self.report.clone();
            return self.tell(MigrationChange::Report { id, report }, "progress".into());
        }
        if self.record.paused || due {
            // The operator may have said something meanwhile.
            self.reported_ms = now_ms;
            self.looked = false;
            return if self.record.paused { Effect::Wait(PAUSED_MS) } else { Effect::Look };
        }
        if self.owed_ms > 0 {
            return Effect::Wait(std::mem::take(&mut self.owed_ms));
        }
        if !self.watched {
            self.chunk.since_ms = now_ms;
            return Effect::Source(Step::Watch { at: self.record.at() });
        }
        if let Some(through) = self.forget {
            return Effect::Source(Step::Forget { through });
        }
        let rows = self.rows.take();
        self.ahead = false;
        let progress = &self.part.progress;
        if !progress.complete && self.backlog < BACKLOG_MAX {
            if let Some(rows) = rows {
                return self.import(now_ms, rows);
            }
            self.chunk.since_ms = now_ms;
            return Effect::Source(Step::Image { after: progress.image.clone(), bytes: self.pace.piece() });
        }
        // What was read ahead is older than what comes now, and would be refused.
        self.chunk.since_ms = now_ms;
        let bytes = if self.is_in_vain() { VAIN_ROUND_BYTES } else { self.pace.piece() };
        Effect::Source(Step::Changes { after: progress.through, bytes })
    }

    /// Has rows imported; while that goes on, the next ones of the image are read.
    fn import(&mut self, now_ms: u64, rows: Import) -> Effect {
        self.chunk.sent_ms = now_ms;
        let Progress { image, complete, through } = &rows.to;
        let more = !complete && *through == rows.from.through && self.backlog < BACKLOG_MAX;
        let next = more.then(|| Step::Image { after: image.clone(), bytes: self.pace.piece() });
        let own = Step::Import(Box::new(rows));
        match next {
            Some(source) => Effect::Both { own, source },
            None => Effect::Own(own),
        }
    }

    /// Whether the rounds of changes have come no nearer to an end for long enough.
    fn is_in_vain(&self) -> bool {
        self.vain_rounds >= VAIN_ROUNDS_MAX
    }

    fn complete(&mut self) -> Effect {
        self.owed_ms = 0;
        if self.part.standing == Standing::Verified {
            let id = self.record.id;
            self.committing = true;
            return self.tell(MigrationChange::Commit { id }, "both copies have the same digest".into());
        }
        if let Some(rows) = self.rows.take() {
            return Effect::Own(Step::Import(Box::new(rows)));
        }
        if !self.frozen {
            return Effect::Source(Step::Freeze);
        }
        Effect::Source(Step::Changes { after: self.part.progress.through, bytes: LAST_BYTES })
    }

    /// The shard is this order's. The source drops its copy only once this order serves what it has.
    fn serve(&mut self, now_ms: u64) -> Effect {
        let (id, epoch) = (self.record.id, self.record.ended);
        if !self.part.standing.serves() {
            return Effect::Own(Step::Activate { epoch });
        }
        if self.collected {
            return self.tell(MigrationChange::Collected { id }, "the source has dropped its copy".into());
        }
        if now_ms.saturating_sub(*self.serving_ms.get_or_insert(now_ms)) >= COLLECT_MS_MAX {
            let why = "the source is gone, and drops its copy when it is back";
            return self.tell(MigrationChange::Collected { id }, why.into());
        }
        if self.owed_ms > 0 {
            return Effect::Wait(std::mem::take(&mut self.owed_ms));
        }
        Effect::Source(Step::Collect { epoch, until: self.record.at() })
    }

    fn give_back(&mut self) -> Effect {
        let id = self.record.id;
        if self.record.discarded {
            // The source's turn.
            self.looked = false;
            return Effect::Wait(PAUSED_MS);
        }
        if self.part.standing == Standing::Gone && self.part.migration >= id {
            let change = MigrationChange::Returned { id, released: false, discarded: true };
            return self.tell(change, "the destination has dropped what it had".into());
        }
        Effect::Own(Step::Discard)
    }
}
