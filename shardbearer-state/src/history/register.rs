//! What one key does: the sequential specification that a store is held against.
//!
//! A register may know less than a store does: after a write without an answer the revision is only bounded from below,
//! and in a window cut out of a history the value is anything at all. So a step has not one successor but all that fit
//! what the client was told; none means that the client was told something impossible.

use bytes::Bytes;
use shardbearer_core::kv::Condition;

use super::model::{Answer, Before, Kind, Lifetime, Seen};

/// A key at one moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Register {
    value: Value,
    revision: Revision,
    expiry: Option<Expiry>,
}

/// When a value disappears, in nanoseconds of the history's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Expiry {
    /// From then on it may.
    from_ns: u64,
    /// By then it has.
    until_ns: u64,
}

/// How far clocks are to be trusted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    /// A value may be gone so much before its expiry.
    pub slack_ns: u64,
    /// It must be gone so much after it; `None` if that is not asked.
    pub late_ns: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    /// Any value or none: what a window begins with.
    Anything,
    Absent,
    Present(Bytes),
}

/// The revision as far as it is known; of an absent key that of its last value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Revision {
    Above(u64),
    Exactly(u64),
}

/// A successor of a step.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Next {
    pub register: Register,
    /// Whether the step took effect; otherwise its condition failed or the value did not suit it.
    pub applied: bool,
}

/// What a step needs to know besides the register.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// When the operation began: this step is not before. Its time to live counts from here on, less the slack.
    pub start_ns: u64,
    /// When it ended, `u64::MAX` if that is not known: its time to live has begun.
    pub end_ns: u64,
    /// The latest time at which this step can happen, so that an expiry later than that cannot come before it.
    pub latest_ns: u64,
    pub clocks: Clocks,
}

impl Moment {
    fn expiry(&self, life_ns: u64) -> Expiry {
        let Clocks { slack_ns, late_ns } = self.clocks;
        let by = |late_ns| self.end_ns.saturating_add(life_ns).saturating_add(late_ns);
        Expiry {
            from_ns: self.start_ns.saturating_add(life_ns).saturating_sub(slack_ns),
            until_ns: late_ns.map_or(u64::MAX, by),
        }
    }
}

impl Register {
    pub const ABSENT: Register =
        Register { value: Value::Absent, revision: Revision::Above(0), expiry: None };

    pub const ANYTHING: Register = Register {
        value: Value::Anything,
        revision: Revision::Above(0),
        expiry: Some(Expiry { from_ns: 0, until_ns: u64::MAX }),
    };

    /// The value, if it is known and there is one.
    pub fn value(&self) -> Option<&Bytes> {
        match &self.value {
            Value::Present(value) => Some(value),
            Value::Anything | Value::Absent => None,
        }
    }

    /// Whether revisions have grown beyond what this answer told, so that it cannot be given any more.
    pub fn is_past(&self, answer: &Answer) -> bool {
        let wrote = answer.revision.is_some_and(|told| told <= self.floor());
        let saw = match &answer.before {
            Before::Present(seen) => seen.revision.is_some_and(|seen| seen < self.floor()),
            Before::Untold | Before::Absent => false,
        };
        wrote || saw
    }

    /// All registers that a step can leave behind, given what was told of it; the likeliest first.
    pub fn step(&self, kind: &Kind, answer: Option<&Answer>, moment: Moment) -> Vec<Next> {
        let mut next = Vec::with_capacity(1);
        let gone = self.expiry.is_some_and(|expiry| expiry.until_ns < moment.start_ns);
        if !gone {
            self.step_alive(kind, answer, moment, &mut next);
        }
        if self.expiry.is_some_and(|expiry| expiry.from_ns <= moment.latest_ns) && self.value != Value::Absent
        {
            let mut expired = self.clone();
            expired.vanish();
            let known = next.len();
            expired.step_alive(kind, answer, moment, &mut next);
            if known > 0 && next[known..].iter().all(|after| next[..known].contains(after)) {
                next.truncate(known);
            }
        }
        next
    }

    fn step_alive(&self, kind: &Kind, answer: Option<&Answer>, moment: Moment, next: &mut Vec<Next>) {
        let mut now = self.clone();
        if let Some(answer) = answer
            && !now.narrow(&answer.before)
        {
            return;
        }
        let told = answer.map(|answer| answer.applied);
        if told != Some(false) {
            let mut after = now.clone();
            if after.apply(kind, answer, moment) {
                next.push(Next { register: after, applied: true });
            }
        }
        if told != Some(true) && now.may_fail(kind) {
            next.push(Next { register: now, applied: false });
        }
    }

    /// Takes in what was seen; `false` if that cannot be.
    fn narrow(&mut self, before: &Before) -> bool {
        match before {
            Before::Untold => true,
            Before::Absent => match self.value {
                Value::Present(_) => false,
                Value::Absent => true,
                Value::Anything => {
                    self.vanish();
                    true
                }
            },
            Before::Present(Seen { value, revision }) => {
                let fits = match (&self.value, value) {
                    (Value::Absent, _) => false,
                    (Value::Present(present), Some(seen)) => present == seen,
                    (Value::Present(_), None) | (Value::Anything, _) => true,
                };
                if let (Value::Anything, Some(seen)) = (&self.value, value) {
                    self.value = Value::Present(seen.clone());
                }
                fits && revision.is_none_or(|seen| self.narrow_revision(seen))
            }
        }
    }

    fn narrow_revision(&mut self, seen: u64) -> bool {
        match self.revision {
            Revision::Exactly(revision) => revision == seen,
            Revision::Above(floor) if seen > floor => {
                self.revision = Revision::Exactly(seen);
                true
            }
            Revision::Above(_) => false,
        }
    }

    fn vanish(&mut self) {
        self.value = Value::Absent;
        self.expiry = None;
        // Of an absent key nobody can see a revision: only the bound is left.
        self.revision = Revision::Above(self.floor());
    }

    fn floor(&self) -> u64 {
        match self.revision {
            Revision::Above(floor) | Revision::Exactly(floor) => floor,
        }
    }

    /// Takes effect; `false` if it cannot, or not with this answer.
    fn apply(&mut self, kind: &Kind, answer: Option<&Answer>, moment: Moment) -> bool {
        match kind {
            Kind::Get => return true,
            Kind::Check { condition } => return self.assume(condition),
            Kind::Put { value, condition, lifetime } => {
                if !self.assume(condition) {
                    return false;
                }
                let kept = self.expiry;
                self.value = Value::Present(value.clone());
                self.expiry = match lifetime {
                    Lifetime::Forever => None,
                    Lifetime::Keep => kept,
                    Lifetime::Milliseconds(life) => Some(moment.expiry(life.saturating_mul(1_000_000))),
                };
            }
            Kind::Delete { condition } => {
                if !self.assume(condition) {
                    return false;
                }
                self.vanish();
            }
            Kind::Increment { by } => {
                let Some(sum) = self.sum(*by, answer.and_then(|answer| answer.number)) else { return false };
                self.value = sum;
            }
            Kind::Append { value } => {
                if !self.append(value, answer.and_then(|answer| answer.length)) {
                    return false;
                }
            }
        }
        match answer.and_then(|answer| answer.revision) {
            Some(told) if told <= self.floor() => return false,
            Some(told) if self.value == Value::Absent => self.revision = Revision::Above(told),
            Some(told) => self.revision = Revision::Exactly(told),
            None => self.revision = Revision::Above(self.floor()),
        }
        true
    }

    fn sum(&self, by: i64, told: Option<i64>) -> Option<Value> {
        let sum = match &self.value {
            Value::Anything => return Some(told.map_or(Value::Anything, number)),
            Value::Absent => by,
            Value::Present(value) => integer(value)?.checked_add(by)?,
        };
        told.is_none_or(|told| told == sum).then(|| number(sum))
    }

    fn append(&mut self, tail: &Bytes, told: Option<u64>) -> bool {
        let value: Bytes = match &self.value {
            Value::Anything => return true,
            Value::Absent => tail.clone(),
            Value::Present(head) => [&head[..], tail].concat().into(),
        };
        let fits = told.is_none_or(|told| told == value.len() as u64);
        self.value = Value::Present(value);
        fits
    }

    /// Takes for granted that a condition holds; `false` if it cannot.
    fn assume(&mut self, condition: &Condition) -> bool {
        match condition {
            Condition::Always => true,
            Condition::Absent | Condition::Revision(0) => self.narrow(&Before::Absent),
            Condition::Present => self.narrow(&Before::Present(Seen::default())),
            Condition::Revision(revision) => {
                self.narrow(&Before::Present(Seen { value: None, revision: Some(*revision) }))
            }
            Condition::Value(value) => {
                self.narrow(&Before::Present(Seen { value: Some(value.clone()), revision: None }))
            }
            Condition::NotValue(value) => !matches!(&self.value, Value::Present(present) if present == value),
        }
    }

    /// Whether the step may have left everything as it was.
    fn may_fail(&self, kind: &Kind) -> bool {
        match kind {
            Kind::Get => false,
            Kind::Put { condition, .. } | Kind::Delete { condition } | Kind::Check { condition } => {
                self.may_not_hold(condition)
            }
            Kind::Increment { by } => match &self.value {
                Value::Anything => true,
                Value::Absent => false,
                Value::Present(value) => integer(value).and_then(|value| value.checked_add(*by)).is_none(),
            },
            Kind::Append { .. } => self.value == Value::Anything,
        }
    }

    fn may_not_hold(&self, condition: &Condition) -> bool {
        let value = match &self.value {
            Value::Anything => return *condition != Condition::Always,
            Value::Absent => None,
            Value::Present(value) => Some(value),
        };
        match condition {
            Condition::Always => false,
            Condition::Absent | Condition::Revision(0) => value.is_some(),
            Condition::Present => value.is_none(),
            Condition::Revision(revision) => value.is_none() || self.revision != Revision::Exactly(*revision),
            Condition::Value(wanted) => value != Some(wanted),
            Condition::NotValue(unwanted) => value == Some(unwanted),
        }
    }
}

fn number(value: i64) -> Value {
    Value::Present(value.to_string().into())
}

/// A decimal integer as stores write them.
fn integer(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}
