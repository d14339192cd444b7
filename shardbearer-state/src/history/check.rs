//! From a history to a verdict, with the operations that prove it.

use bytes::Bytes;

use super::model::{Operation, Outcome};
use super::partition::{Part, partition};
use super::register::{Clocks, Register};
use super::search::{Search, Verdict};
use super::{text, window};

/// What to assume, and how far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// By how much the clock of the store may be ahead of that of the history: so much before its expiry a value
    /// may be gone.
    pub slack_ns: u64,
    /// So long after its expiry a value may still be seen; `None`: for ever, since it is not asked that it disappears.
    pub late_ns: Option<u64>,
    /// Situations looked at per part before the search gives up. One takes some hundred bytes.
    pub states_max: u64,
    /// Whether the store held anything at all when the history began; otherwise every key was absent.
    pub from_anything: bool,
    /// Violations that are explained; the others are only counted.
    pub explained_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { slack_ns: 0, late_ns: None, states_max: 3_000_000, from_anything: false, explained_max: 10 }
    }
}

/// What a history is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Operations checked, of all outcomes.
    pub operations: usize,
    /// Of these, those that never happened.
    pub refused: usize,
    /// Of these, those that may have happened.
    pub unknown: usize,
    /// Keys seen.
    pub keys: usize,
    /// Situations looked at.
    pub states: u64,
    /// How many parts of the history are wrong, or too hard to tell.
    pub violations_count: usize,
    /// How many of those are too hard to tell, and proven neither right nor wrong.
    pub gave_up_count: usize,
    /// The first of them.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Whether nothing is wrong and nothing was left open.
    pub fn passed(&self) -> bool {
        self.violations_count == 0
    }
}

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// There is no order of these operations that one store could have carried out.
    NoOrder {
        /// On which keys: one, or several that batches join.
        keys: Vec<Bytes>,
        /// Indices in the history: few operations that contradict each other.
        window: Vec<usize>,
        /// The same for people, line by line.
        text: Vec<String>,
    },
    /// A scan returned a key twice, or one that it was not asked for.
    BadRow {
        /// The key.
        key: Bytes,
        /// Index of the scan.
        scan: usize,
        /// The same for people, line by line.
        text: Vec<String>,
    },
    /// No answer within the limit. That is no pass: raise the limit, or record fewer concurrent operations per key.
    GaveUp {
        /// On which keys.
        keys: Vec<Bytes>,
        /// Operations on them.
        operations: usize,
        /// Situations looked at.
        states: u64,
    },
}

/// Checks a history; `progress` is told now and then how many operations are done since it was last told.
pub fn check(history: &[Operation], options: &Options, mut progress: impl FnMut(usize)) -> Report {
    let of = |outcome| history.iter().filter(|operation| operation.outcome == outcome).count();
    let mut report = Report {
        operations: history.len(),
        refused: of(Outcome::Refused),
        unknown: of(Outcome::Unknown),
        ..Report::default()
    };
    let partition = partition(history);
    for (scan, key) in partition.bad_rows {
        let text = vec![text::bad_row(key, &history[scan])];
        report.add(options, || Violation::BadRow { key: key.clone(), scan, text });
    }
    for part in &partition.parts {
        report.keys += part.keys.len();
        report.judge(history, part, options);
        progress(part.items.len());
    }
    report
}

impl Report {
    fn judge(&mut self, history: &[Operation], part: &Part<'_>, options: &Options) {
        let begin = if options.from_anything { Register::ANYTHING } else { Register::ABSENT };
        let clocks = Clocks { slack_ns: options.slack_ns, late_ns: options.late_ns };
        let search = Search::new(&part.items, clocks);
        let (verdict, states) = search.run(vec![begin.clone(); part.keys.len()], options.states_max);
        self.states += states;
        let keys = || part.keys.iter().map(|key| (*key).clone()).collect();
        match verdict {
            Verdict::Linearizable => {}
            Verdict::Stuck { item } => self.add(options, || {
                let window = window::narrow(part, item, &begin, clocks);
                let text = text::window(history, part, &window);
                Violation::NoOrder { keys: keys(), window: window.operations, text }
            }),
            Verdict::GaveUp => {
                let operations = part.items.len();
                self.gave_up_count += 1;
                self.add(options, || Violation::GaveUp { keys: keys(), operations, states });
            }
        }
    }

    fn add(&mut self, options: &Options, violation: impl FnOnce() -> Violation) {
        self.violations_count += 1;
        if self.violations.len() < options.explained_max {
            self.violations.push(violation());
        }
    }
}

impl Violation {
    /// What is wrong, line by line.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Violation::NoOrder { text, .. } | Violation::BadRow { text, .. } => text.clone(),
            Violation::GaveUp { keys, operations, states } => vec![format!(
                "{}: not proven either way: gave up after {states} situations in {operations} operations",
                text::keys(keys)
            )],
        }
    }
}
