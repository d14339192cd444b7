//! A store that does one thing at a time, written without a look at the checker's registers, and histories made of it:
//! random commands one after the other, each at its point in time, their calls stretched around these points. Such a
//! history is right by construction, and wrong by construction where a [`Fault`] was put in.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A key's value, revision and the time from which it may be gone.
type Cell = (Bytes, u64, Option<u64>);

#[derive(Default)]
pub struct Store {
    cells: BTreeMap<Bytes, Cell>,
    revision: u64,
}

impl Store {
    /// Carries out one step and says what a client is told.
    pub fn step(&mut self, now_ns: u64, step: &Step) -> Answer {
        let old = self.cells.get(&step.key).cloned();
        let before = old.as_ref().map_or(Before::Absent, |(value, revision, _)| {
            Before::Present(Seen { value: Some(value.clone()), revision: Some(*revision) })
        });
        let (value, expiry) = (old.as_ref().map(|old| old.0.clone()), old.as_ref().and_then(|old| old.2));
        let holds = |condition: &Condition| match condition {
            Condition::Always => true,
            Condition::Absent => old.is_none(),
            Condition::Present => old.is_some(),
            Condition::Revision(wanted) => old.as_ref().map_or(0, |old| old.1) == *wanted,
            Condition::Value(wanted) => value.as_ref() == Some(wanted),
            Condition::NotValue(unwanted) => value.as_ref() != Some(unwanted),
        };
        let told = |applied| Answer { applied, before: before.clone(), ..Answer::APPLIED };
        match &step.kind {
            Kind::Get => told(true),
            Kind::Check { condition } => told(holds(condition)),
            Kind::Put { condition, .. } | Kind::Delete { condition } if !holds(condition) => told(false),
            Kind::Put { value, lifetime, .. } => {
                let expiry = match lifetime {
                    Lifetime::Forever => None,
                    Lifetime::Keep => expiry,
                    Lifetime::Milliseconds(ms) => Some(now_ns + ms * 1_000_000),
                };
                Answer { revision: Some(self.write(&step.key, value.clone(), expiry)), ..Answer::APPLIED }
            }
            Kind::Delete { .. } => {
                self.cells.remove(&step.key);
                self.revision += 1;
                told(true)
            }
            Kind::Increment { by } => {
                let text = value.unwrap_or_else(|| "0".into());
                // Only as it would write it itself: 00 is no number.
                let number = std::str::from_utf8(&text).ok().and_then(|text| text.parse::<i64>().ok());
                let number = number.filter(|number| number.to_string().as_bytes() == text);
                let Some(number) = number else { return Answer { applied: false, ..Answer::APPLIED } };
                let revision = self.write(&step.key, (number + by).to_string().into(), expiry);
                Answer { number: Some(number + by), revision: Some(revision), ..Answer::APPLIED }
            }
            Kind::Append { value: tail } => {
                let whole = [&value.unwrap_or_default()[..], tail].concat();
                let length = Some(whole.len() as u64);
                Answer {
                    length,
                    revision: Some(self.write(&step.key, whole.into(), expiry)),
                    ..Answer::APPLIED
                }
            }
        }
    }

    fn write(&mut self, key: &Bytes, value: Bytes, expiry: Option<u64>) -> u64 {
        self.revision += 1;
        self.cells.insert(key.clone(), (value, self.revision, expiry));
        self.revision
    }

    fn expire(&mut self, key: &Bytes, now_ns: u64) {
        if self.cells.get(key).is_some_and(|cell| cell.2.is_some_and(|at| at <= now_ns)) {
            self.cells.remove(key);
        }
    }
}

/// One call of a random history.
#[derive(Clone, Debug)]
pub struct Draw {
    key: u8,
    kind: Kind,
    /// How far the call reaches before and behind the point where it happens.
    stretch: (u64, u64),
    fate: Fate,
    /// Whether an expired key is gone at this point; it may be any time later.
    sweep: bool,
    /// Whether the client is told revisions and what was there.
    talkative: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Answered,
    Refused,
    LostAndDone,
    LostAndNotDone,
}

/// Something wrong with the call of that number, at the store or on the way back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    None,
    /// A read returns a value that was never written.
    Invented(usize),
    /// A write is acknowledged and dropped.
    Dropped(usize),
    /// A write is done twice.
    Doubled(usize),
    /// A write is refused and done nevertheless.
    Leaked(usize),
}

/// Between two points in time.
const STEP_NS: u64 = 1_000_000;

pub fn value() -> impl Strategy<Value = Bytes> {
    (0..6u8).prop_map(|n| n.to_string().into())
}

pub fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        4 => Just(Condition::Always),
        1 => Just(Condition::Absent),
        1 => Just(Condition::Present),
        1 => (0..8u64).prop_map(Condition::Revision),
        2 => value().prop_map(Condition::Value),
        1 => value().prop_map(Condition::NotValue),
    ]
}

pub fn kind() -> impl Strategy<Value = Kind> {
    let lifetime = prop_oneof![
        3 => Just(Lifetime::Forever),
        1 => Just(Lifetime::Keep),
        2 => (0..20u64).prop_map(Lifetime::Milliseconds),
    ];
    prop_oneof![
        4 => Just(Kind::Get),
        4 => (value(), condition(), lifetime)
            .prop_map(|(value, condition, lifetime)| Kind::Put { value, condition, lifetime }),
        1 => condition().prop_map(|condition| Kind::Delete { condition }),
        2 => (-2..3i64).prop_map(|by| Kind::Increment { by }),
        1 => value().prop_map(|value| Kind::Append { value }),
    ]
}

/// Calls on so many keys that reach so many milliseconds to each side; they happen two apart.
pub fn draws(count: usize, keys: u8, reach: u64) -> impl Strategy<Value = Vec<Draw>> {
    let fate = prop_oneof![
        12 => Just(Fate::Answered),
        1 => Just(Fate::Refused),
        1 => Just(Fate::LostAndDone),
        1 => Just(Fate::LostAndNotDone),
    ];
    let stretch = (0..=reach * STEP_NS, 0..=reach * STEP_NS);
    let draw = (0..keys, kind(), stretch, fate, any::<bool>(), any::<bool>()).prop_map(
        |(key, kind, stretch, fate, sweep, talkative)| Draw { key, kind, stretch, fate, sweep, talkative },
    );
    vec(draw, count)
}

/// The history of these calls.
pub fn history(draws: &[Draw], fault: Fault) -> Vec<Operation> {
    let mut store = Store::default();
    let mut history = Vec::new();
    for (index, draw) in draws.iter().enumerate() {
        // Far enough from 0 for any stretch.
        let now_ns = (1_000 + 2 * index as u64) * STEP_NS;
        let mut step = Step { key: vec![b'a' + draw.key].into(), kind: draw.kind.clone(), answer: None };
        if draw.sweep {
            store.expire(&step.key, now_ns);
        }
        let done = match draw.fate {
            Fate::Answered | Fate::LostAndDone => fault != Fault::Dropped(index),
            Fate::Refused => fault == Fault::Leaked(index),
            Fate::LostAndNotDone => false,
        };
        let (start_ns, end_ns) = (now_ns - draw.stretch.0, now_ns + draw.stretch.1);
        let mut answer = if done {
            store.step(now_ns, &step)
        } else {
            // What the client would have been told.
            let (cells, revision) = (store.cells.clone(), store.revision);
            let answer = store.step(now_ns, &step);
            (store.cells, store.revision) = (cells, revision);
            answer
        };
        if fault == Fault::Doubled(index) {
            store.step(now_ns, &step);
        }
        if fault == Fault::Invented(index) {
            answer = Answer::found(Some("invented".into()));
        }
        if !draw.talkative {
            answer.revision = None;
            match &mut answer.before {
                Before::Present(seen) if !step.kind.is_write() => seen.revision = None,
                before if step.kind.is_write() => *before = Before::Untold,
                Before::Present(_) | Before::Absent | Before::Untold => {}
            }
        }
        let outcome = match draw.fate {
            Fate::Answered => Outcome::Ok,
            Fate::Refused => Outcome::Refused,
            Fate::LostAndDone | Fate::LostAndNotDone => Outcome::Unknown,
        };
        step.answer = Some(answer).filter(|_| outcome == Outcome::Ok);
        history.push(Operation {
            line: index as u64 + 1,
            client: index as u64 % 5,
            start_ns,
            end_ns: Some(end_ns).filter(|_| outcome == Outcome::Ok || draw.sweep),
            action: Action::One(step),
            outcome,
        });
    }
    history
}

impl Draw {
    pub fn answered(&self) -> bool {
        self.fate == Fate::Answered
    }

    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// A call that begins, happens and ends at one point in time.
    pub fn calm(key: u8, kind: Kind, refused: bool) -> Draw {
        let fate = if refused { Fate::Refused } else { Fate::Answered };
        Draw { key, kind, stretch: (0, 0), fate, sweep: false, talkative: false }
    }

    /// The same without anything about revisions and expiries.
    pub fn plain(mut self) -> Draw {
        if let Kind::Put { condition, lifetime, .. } = &mut self.kind {
            *lifetime = Lifetime::Forever;
            unrevised(condition);
        }
        if let Kind::Delete { condition } = &mut self.kind {
            unrevised(condition);
        }
        Draw { talkative: false, ..self }
    }
}

fn unrevised(condition: &mut Condition) {
    if matches!(condition, Condition::Revision(revision) if *revision > 0) {
        *condition = Condition::Present;
    }
}
