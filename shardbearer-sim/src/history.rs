//! What clients did and saw, and whether a store that is linearizable for each key could have answered so.
//!
//! Every key is either a register (each write has a value of its own) or a counter (only incremented). The store gives
//! each change of a key a higher revision, and tells it with every answer; so the order in which the changes took effect is
//! known, and [`Revisions`] needs no search: it checks the answers against that order and the order against real
//! time. It cannot see what a missing revision hides, which is why [`Judge`] is a trait.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;

use crate::lock;

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The key's value.
    Read,
    /// Set the register, to a value that no other write of the run has.
    Write(Bytes),
    /// Set it if its revision is this one (0: absent).
    WriteIf(u64, Bytes),
    /// Add one to the counter.
    Add,
}

/// A value and its revision; `None` if there is none.
pub type Seen = Option<(Bytes, u64)>;

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nobody knows, and it may still take effect.
    Unknown,
    /// It did not happen and never will.
    Refused,
    /// What a read found.
    Found(Seen),
    /// The write happened and made this revision.
    Wrote(u64),
    /// The condition did not hold; this is there.
    Failed(Seen),
    /// The counter's new value and revision.
    Counted(i64, u64),
}

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Whose.
    pub client: usize,
    /// On which key.
    pub key: Bytes,
    /// What was asked.
    pub ask: Ask,
    /// When, as a number that grows with every beginning and end.
    pub from: u64,
    /// When the answer came; the largest number if it never did.
    pub to: u64,
    /// The answer.
    pub answer: Answer,
}

/// The operations of a run.
#[derive(Default)]
pub struct History {
    operations: Mutex<(u64, Vec<Operation>)>,
}

impl History {
    /// An operation begins. Returns its number.
    pub fn begin(&self, client: usize, key: &Bytes, ask: Ask) -> usize {
        let mut inner = lock(&self.operations);
        inner.0 += 1;
        let from = inner.0;
        let key = key.clone();
        inner.1.push(Operation { client, key, ask, from, to: u64::MAX, answer: Answer::Unknown });
        inner.1.len() - 1
    }

    /// An operation ends.
    pub fn end(&self, number: usize, answer: Answer) {
        let mut inner = lock(&self.operations);
        inner.0 += 1;
        let now = inner.0;
        let operation = &mut inner.1[number];
        // What is not known now may still happen, so it never ends.
        if answer != Answer::Unknown {
            operation.to = now;
        }
        operation.answer = answer;
    }

    /// All operations so far, by their beginning.
    pub fn operations(&self) -> Vec<Operation> {
        lock(&self.operations).1.clone()
    }
}

/// Decides whether a history is allowed.
pub trait Judge {
    /// `Err` says in words what is not.
    fn judge(&self, operations: &[Operation]) -> Result<(), String>;
}

/// The judge that goes by revisions.
pub struct Revisions;

impl Judge for Revisions {
    fn judge(&self, operations: &[Operation]) -> Result<(), String> {
        let mut keys: BTreeMap<&Bytes, Vec<&Operation>> = BTreeMap::new();
        for operation in operations {
            keys.entry(&operation.key).or_default().push(operation);
        }
        for (key, operations) in keys {
            let judged = judge_key(&operations);
            judged.map_err(|why| format!("key {}: {why}", String::from_utf8_lossy(key)))?;
        }
        Ok(())
    }
}

/// What an answer says about the key's state when it took effect, and whether it made that state.
fn effect(operation: &Operation) -> Option<(Seen, bool)> {
    match (&operation.ask, &operation.answer) {
        (_, Answer::Unknown | Answer::Refused) => None,
        (_, Answer::Found(seen) | Answer::Failed(seen)) => Some((seen.clone(), false)),
        (Ask::Write(value) | Ask::WriteIf(_, value), Answer::Wrote(revision)) => {
            Some((Some((value.clone(), *revision)), true))
        }
        (_, Answer::Counted(value, revision)) => Some((Some((value.to_string().into(), *revision)), true)),
        (Ask::Read | Ask::Add, Answer::Wrote(_)) => None,
    }
}

fn judge_key(operations: &[&Operation]) -> Result<(), String> {
    let states = states(operations)?;
    in_real_time(operations, &states)?;
    conditions(operations, &states)?;
    if operations.iter().any(|operation| operation.ask == Ask::Add) {
        counters(operations, &states)
    } else {
        registers(operations, &states)
    }
}

/// The value at every revision that anybody was told of.
fn states(operations: &[&Operation]) -> Result<BTreeMap<u64, Bytes>, String> {
    let mut states: BTreeMap<u64, Bytes> = BTreeMap::new();
    let mut made: BTreeMap<u64, &Operation> = BTreeMap::new();
    for operation in operations {
        let Some((Some((value, revision)), makes)) = effect(operation) else { continue };
        if let Some(other) = states.insert(revision, value.clone()).filter(|other| *other != value) {
            return Err(format!(
                "revision {revision} is both {other:?} and {value:?}; the second by {operation:?}"
            ));
        }
        if makes && let Some(other) = made.insert(revision, operation) {
            return Err(format!("revision {revision} was made twice, by {other:?} and {operation:?}"));
        }
    }
    Ok(states)
}

/// Nothing goes back: what was answered before an operation began had taken effect before it.
fn in_real_time(operations: &[&Operation], states: &BTreeMap<u64, Bytes>) -> Result<(), String> {
    // (when answered, revision), and from it the highest revision answered up to then.
    let mut answered: Vec<(u64, u64)> = Vec::new();
    for operation in operations {
        if let Some((Some((_, revision)), _)) = effect(operation) {
            answered.push((operation.to, revision));
        }
    }
    answered.sort_unstable();
    let mut highest = 0;
    for (_, revision) in &mut answered {
        highest = highest.max(*revision);
        *revision = highest;
    }
    let floor = |from: u64| {
        let before = answered.partition_point(|(to, _)| *to < from);
        before.checked_sub(1).map_or(0, |last| answered[last].1)
    };
    let made: BTreeMap<&Bytes, u64> = states.iter().map(|(revision, value)| (value, *revision)).collect();
    for operation in operations {
        let floor = floor(operation.from);
        match effect(operation) {
            Some((seen, makes)) => {
                let revision = seen.map_or(0, |(_, revision)| revision);
                if revision < floor || (makes && revision == floor) {
                    return Err(format!("revision {floor} was answered before this began: {operation:?}"));
                }
            }
            None => {
                // An unknown write that was seen took effect after it began.
                let (Ask::Write(value) | Ask::WriteIf(_, value)) = &operation.ask else { continue };
                if let Some(revision) = made.get(value).filter(|revision| **revision <= floor) {
                    return Err(format!(
                        "it made revision {revision}, but {floor} was answered before it began: {operation:?}"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// A conditional write followed directly on what it wanted, and failed only where something else was there.
fn conditions(operations: &[&Operation], states: &BTreeMap<u64, Bytes>) -> Result<(), String> {
    for operation in operations {
        let Ask::WriteIf(wanted, _) = &operation.ask else { continue };
        match &operation.answer {
            Answer::Wrote(revision) => {
                if let Some((between, _)) = states.range(wanted + 1..*revision).next() {
                    return Err(format!("revision {between} came between: {operation:?}"));
                }
            }
            Answer::Failed(seen) => {
                if seen.as_ref().map_or(0, |(_, revision)| *revision) == *wanted {
                    return Err(format!("it should have succeeded: {operation:?}"));
                }
            }
            Answer::Unknown | Answer::Refused | Answer::Found(_) | Answer::Counted(..) => {}
        }
    }
    Ok(())
}

/// Every value seen was written, once, by a write that was not refused and had begun.
fn registers(operations: &[&Operation], states: &BTreeMap<u64, Bytes>) -> Result<(), String> {
    let mut writes: BTreeMap<&Bytes, &Operation> = BTreeMap::new();
    for operation in operations {
        if let Ask::Write(value) | Ask::WriteIf(_, value) = &operation.ask {
            writes.insert(value, operation);
        }
    }
    let mut made: BTreeMap<&Bytes, u64> = BTreeMap::new();
    for (revision, value) in states {
        if let Some(other) = made.insert(value, *revision) {
            return Err(format!("{value:?} took effect twice, as revisions {other} and {revision}"));
        }
        match writes.get(value) {
            None => return Err(format!("{value:?} was never written")),
            Some(write) if matches!(write.answer, Answer::Refused | Answer::Failed(_)) => {
                return Err(format!("revision {revision} comes from a write that did not happen: {write:?}"));
            }
            Some(_) => {}
        }
    }
    for operation in operations {
        let Some((Some((value, _)), false)) = effect(operation) else { continue };
        if writes.get(&value).is_some_and(|write| write.from > operation.to) {
            return Err(format!("it saw a value from the future: {operation:?}"));
        }
    }
    Ok(())
}

/// A counter counts each increment once.
fn counters(operations: &[&Operation], states: &BTreeMap<u64, Bytes>) -> Result<(), String> {
    let number = |value: &Bytes| std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
    let mut before = 0;
    for (revision, value) in states {
        let value = number(value).ok_or_else(|| format!("{value:?} is no number"))?;
        if value <= before {
            return Err(format!("revision {revision} has {value} after {before}"));
        }
        before = value;
    }
    for operation in operations {
        let Some((seen, makes)) = effect(operation) else { continue };
        let value = seen.and_then(|(value, _)| number(&value)).unwrap_or(0);
        let adds = || operations.iter().filter(|other| other.ask == Ask::Add);
        let least = adds().filter(|other| matches!(other.answer, Answer::Counted(..)));
        let least = least.filter(|other| other.to < operation.from).count() as i64 + i64::from(makes);
        let most = adds().filter(|other| other.answer != Answer::Refused && other.from < operation.to);
        let most = most.count() as i64;
        if value < least || value > most {
            return Err(format!("it has {value}, and should have {least} to {most}: {operation:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
