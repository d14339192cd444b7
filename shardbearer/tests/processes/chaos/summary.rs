//! What was done and what came of it, in numbers: for people, and as one line of JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::bystanders::Bystanders;
use super::plan::{Fault, Plan};

/// What one kind of fault did.
#[derive(Clone, Debug, Default)]
pub struct Felt {
    /// The longest pause of any key that is written through good radiants, per fault.
    pub gaps: Vec<Duration>,
    /// From the end of the fault until every key was written again.
    pub usable_after: Vec<Duration>,
}

/// What became of the migrations of a run.
#[derive(Clone, Debug, Default)]
pub struct Moved {
    pub completed: u64,
    /// Called off, by whomever; the shard stayed where it was.
    pub returned: u64,
    /// Of each that was completed, from its beginning until the source had dropped its copy.
    pub times: Vec<Duration>,
}

/// Counts of a run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub faults: BTreeMap<&'static str, Felt>,
    /// What else happened, by what it was.
    pub notes: BTreeMap<String, u64>,
    /// What should not have happened, whatever clients saw. It fails the run.
    pub shortfalls: Vec<String>,
    pub errors: BTreeMap<String, u64>,
    pub operations: usize,
    pub refused: usize,
    pub unknown: usize,
    pub keys: usize,
    pub heralds: u64,
    pub violations: usize,
    pub moves: Moved,
    pub bystanders: Bystanders,
    /// Orders whose replicas were compared in the end, and their rows.
    pub compared: (usize, u64),
    pub time: Duration,
}

impl Tally {
    pub fn felt(&mut self, fault: Fault, gap: Duration, usable_after: Duration) {
        let felt = self.faults.entry(fault.name()).or_default();
        felt.gaps.push(gap);
        felt.usable_after.push(usable_after);
    }

    /// Counts it. Numbers do not tell notes apart.
    pub fn note(&mut self, what: impl Into<String>) {
        let mut what: String = what.into();
        while let Some(digit) = what.find(|one: char| one.is_ascii_digit()) {
            let rest = what[digit..].trim_start_matches(|one: char| one.is_ascii_digit()).to_owned();
            what = format!("{}#{rest}", &what[..digit]);
        }
        *self.notes.entry(what).or_default() += 1;
    }

    /// Notes it, as something that should not have happened.
    pub fn falls_short(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.note(what.as_str());
        self.shortfalls.push(what);
    }

    /// Whether there is a note that begins and goes on so.
    fn noted(&self, begins: &str, has: &str) -> bool {
        self.notes.keys().any(|note| note.starts_with(begins) && note.contains(has))
    }

    /// Of all that was to be done, what did nothing: a check that cannot have failed.
    pub fn judge_what_was_done(&mut self, faults: &[Fault]) {
        for fault in faults {
            if !self.faults.contains_key(fault.name()) {
                self.falls_short(format!("{} was not played", fault.name()));
            }
        }
        if faults.contains(&Fault::Error) && !self.noted("error: ", ": hit ") {
            self.falls_short("error: no call has failed");
        }
        let full = faults.iter().any(|fault| matches!(fault, Fault::Full | Fault::FullAll));
        if full && !self.noted("full: no room was found", "") {
            self.falls_short("full: no disk was ever full");
        }
        if faults.contains(&Fault::Crash) && !self.noted("crash: ", ": hit") {
            self.falls_short("crash: no radiant was killed at any point");
        }
        if faults.contains(&Fault::ImageFlip) && !self.noted("image-flip: noticed", "") {
            self.falls_short("image-flip: no damaged image was noticed");
        }
        if faults.contains(&Fault::Flip)
            && !(self.noted("flip in ", "refused") || self.noted("flip in ", "served"))
        {
            self.falls_short("flip: no bit was turned");
        }
    }

    pub fn json(&self, plan: &Plan) -> Value {
        let ms = |time: Option<Duration>| time.unwrap_or_default().as_millis() as u64;
        let of = |times: &[Duration]| json!({"median_ms": ms(median(times)), "max_ms": ms(times.iter().max().copied())});
        let felt = |felt: &Felt| {
            let (gap, usable_after) = (of(&felt.gaps), of(&felt.usable_after));
            json!({"count": felt.gaps.len(), "gap": gap, "usable_after": usable_after})
        };
        let faults: BTreeMap<_, _> = self.faults.iter().map(|(name, found)| (name, felt(found))).collect();
        json!({
            "engine": plan.engine, "seed": plan.seed, "seconds": self.time.as_secs(),
            "operations": {"all": self.operations, "refused": self.refused, "unknown": self.unknown},
            "moves": {"completed": self.moves.completed, "returned": self.moves.returned, "time": of(&self.moves.times)},
            "compared": {"orders": self.compared.0, "rows": self.compared.1},
            "keys": self.keys, "herald_changes": self.heralds, "violations": self.violations,
            "keys_led_by_others_at_a_kill": self.bystanders.json(),
            "shortfalls": self.shortfalls,
            "faults": faults, "notes": self.notes, "errors": self.errors,
        })
    }
}

fn median(times: &[Duration]) -> Option<Duration> {
    let mut times = times.to_vec();
    times.sort();
    times.get(times.len() / 2).copied()
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answered = self.operations - self.refused - self.unknown;
        writeln!(f, "{} s, {} violations", self.time.as_secs(), self.violations)?;
        writeln!(
            f,
            "operations {}: answered {answered}, refused {}, unknown {}; {} keys; herald changes {}",
            self.operations, self.refused, self.unknown, self.keys, self.heralds
        )?;
        let (orders, rows) = self.compared;
        writeln!(f, "replicas of {orders} orders compared in the end: the same {rows} rows")?;
        let ms = |time: Option<Duration>| format!("{} ms", time.unwrap_or_default().as_millis());
        let Moved { completed, returned, times } = &self.moves;
        let (usual, longest) = (ms(median(times)), ms(times.iter().max().copied()));
        writeln!(f, "moves completed {completed}, in {usual}, at most {longest}; returned {returned}")?;
        if let Some(words) = self.bystanders.words() {
            writeln!(f, "{words}")?;
        }
        writeln!(
            f,
            "fault        count   longest gap of a key: median      max   usable again: median      max"
        )?;
        for (name, felt) in &self.faults {
            writeln!(
                f,
                "{name:<12} {:>5} {:>28} {:>8} {:>22} {:>8}",
                felt.gaps.len(),
                ms(median(&felt.gaps)),
                ms(felt.gaps.iter().max().copied()),
                ms(median(&felt.usable_after)),
                ms(felt.usable_after.iter().max().copied())
            )?;
        }
        for (what, count) in self.notes.iter().chain(&self.errors) {
            writeln!(f, "{count:>7}  {what}")?;
        }
        Ok(())
    }
}

#[test]
fn what_did_nothing_is_told() {
    let mut tally = Tally::default();
    let played = [Fault::Error, Fault::Full];
    for fault in played {
        tally.felt(fault, Duration::ZERO, Duration::ZERO);
    }
    tally.note("error: Write of Log: not reached under load");
    tally.note("full: not filled in time");
    tally.judge_what_was_done(&[Fault::Error, Fault::Full, Fault::Kill]);
    let told = ["kill was not played", "error: no call has failed", "full: no disk was ever full"];
    assert_eq!(tally.shortfalls, told);
    tally.shortfalls.clear();
    tally.note("error: Sync of Log: hit at the start");
    tally.note("full: no room was found");
    tally.judge_what_was_done(&played);
    assert_eq!(tally.shortfalls, [""; 0]);
}

#[test]
fn medians_and_maxima_are_told() {
    let mut tally = Tally::default();
    for gap in [5, 1, 3] {
        tally.felt(Fault::Kill, Duration::from_millis(gap), Duration::from_millis(gap * 10));
    }
    let plan = Plan::of("openraft", &[]);
    let told = &tally.json(&plan)["faults"]["kill"];
    assert_eq!(told["count"], 3);
    assert_eq!((&told["gap"]["median_ms"], &told["gap"]["max_ms"]), (&json!(3), &json!(5)));
    assert_eq!(told["usable_after"]["median_ms"], 30);
    assert!(tally.to_string().contains("kill             3"), "{tally}");
}
