//! Cuts a history into parts that share no key. Batches join their keys; a scan falls apart into one read per key
//! of its range, since it promises no more: of each key it returned, that it was so at some time during the scan; of
//! each that it passed over, that it was absent at some time during the scan.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::model::{Action, Answer, Before, Kind, Operation, Outcome, Scan, Step};
use super::search::{Effect, Item, Touch};

/// Some keys and all that happened to them.
pub(super) struct Part<'a> {
    pub keys: Vec<&'a Bytes>,
    /// In the order of their starts.
    pub items: Vec<Item<'a>>,
}

/// A history in parts.
pub(super) struct Partition<'a> {
    pub parts: Vec<Part<'a>>,
    /// Scans that returned a key twice or one outside of their range.
    pub bad_rows: Vec<(usize, &'a Bytes)>,
}

pub(super) fn partition(history: &[Operation]) -> Partition<'_> {
    let mut keys: BTreeMap<&Bytes, usize> = BTreeMap::new();
    for operation in history {
        let rows = match &operation.action {
            Action::Scan(scan) => scan.rows.as_slice(),
            Action::One(_) | Action::Batch { .. } => &[],
        };
        for key in
            operation.action.steps().iter().map(|step| &step.key).chain(rows.iter().map(|row| &row.key))
        {
            let next = keys.len();
            keys.entry(key).or_insert(next);
        }
    }
    let mut partition = Partition { parts: Vec::new(), bad_rows: Vec::new() };
    let places = places(history, &keys, &mut partition.parts);
    for (index, operation) in history.iter().enumerate() {
        match (&operation.action, operation.outcome) {
            (_, Outcome::Refused) | (Action::Scan(_), Outcome::Unknown) => {}
            (Action::Scan(scan), Outcome::Ok) => {
                partition.bad_rows.extend(bad_rows(scan).into_iter().map(|key| (index, key)));
                for (key, seen) in reads(scan, &keys) {
                    let (part, slot) = places[keys[key]];
                    let answer = Answer { before: seen, ..Answer::APPLIED };
                    let touch = Touch { slot, kind: &Kind::Get, answer: Some(Cow::Owned(answer)) };
                    partition.parts[part].items.push(item(index, operation, Effect::One(touch)));
                }
            }
            (Action::One(_) | Action::Batch { .. }, Outcome::Ok | Outcome::Unknown) => {
                if let Some((part, effect)) = effect(operation, &keys, &places) {
                    partition.parts[part].items.push(item(index, operation, effect));
                }
            }
        }
    }
    for part in &mut partition.parts {
        part.items.sort_by_key(|item| item.start_ns);
    }
    partition
}

/// Of each key the part and the slot therein, and the parts, still empty.
fn places<'a>(
    history: &'a [Operation],
    keys: &BTreeMap<&'a Bytes, usize>,
    parts: &mut Vec<Part<'a>>,
) -> Vec<(usize, usize)> {
    let mut leader: Vec<usize> = (0..keys.len()).collect();
    for operation in history.iter().filter(|operation| operation.outcome != Outcome::Refused) {
        let mut ids = operation.action.steps().iter().map(|step| keys[&step.key]);
        let Some(first) = ids.next() else { continue };
        for id in ids {
            let (a, b) = (find(&mut leader, first), find(&mut leader, id));
            leader[a.max(b)] = a.min(b);
        }
    }
    let mut part_of = vec![None; keys.len()];
    let mut places = vec![(0, 0); keys.len()];
    for (key, id) in keys {
        let part = *part_of[find(&mut leader, *id)].get_or_insert_with(|| {
            parts.push(Part { keys: Vec::new(), items: Vec::new() });
            parts.len() - 1
        });
        places[*id] = (part, parts[part].keys.len());
        parts[part].keys.push(key);
    }
    places
}

/// The root of a tree of joined keys; halves the way for the next who asks.
fn find(leader: &mut [usize], mut id: usize) -> usize {
    while leader[id] != id {
        leader[id] = leader[leader[id]];
        id = leader[id];
    }
    id
}

fn item<'a>(index: usize, operation: &Operation, effect: Effect<'a>) -> Item<'a> {
    let optional = operation.outcome == Outcome::Unknown;
    let end_ns = operation.end_ns.filter(|_| !optional).unwrap_or(u64::MAX).max(operation.start_ns);
    Item { index, start_ns: operation.start_ns, end_ns, optional, effect }
}

/// The part that an operation belongs to and what it does there; `None` if it neither did nor saw anything.
fn effect<'a>(
    operation: &'a Operation,
    keys: &BTreeMap<&Bytes, usize>,
    places: &[(usize, usize)],
) -> Option<(usize, Effect<'a>)> {
    let unknown = operation.outcome == Outcome::Unknown;
    let steps = operation.action.steps();
    if unknown && !steps.iter().any(|step| step.kind.is_write()) {
        return None;
    }
    let place = |step: &Step| places[keys[&step.key]];
    let touch = |step: &'a Step| Touch {
        slot: place(step).1,
        kind: &step.kind,
        answer: step.answer.as_ref().filter(|_| !unknown).map(Cow::Borrowed),
    };
    let part = place(steps.first()?).0;
    let effect = match &operation.action {
        Action::One(step) => Effect::One(touch(step)),
        Action::Batch { steps, all_or_nothing, applied } => Effect::Batch {
            touches: steps.iter().map(touch).collect(),
            all_or_nothing: *all_or_nothing,
            applied: applied.filter(|_| !unknown),
        },
        Action::Scan(_) => return None,
    };
    Some((part, effect))
}

fn bad_rows(scan: &Scan) -> Vec<&Bytes> {
    let mut bad = Vec::new();
    let mut seen = BTreeMap::new();
    for row in &scan.rows {
        let outside = row.key < scan.start || (!scan.end.is_empty() && row.key >= scan.end);
        if outside || seen.insert(&row.key, ()).is_some() {
            bad.push(&row.key);
        }
    }
    bad
}

/// What a scan says of each key of the history that it passed.
fn reads<'a>(scan: &'a Scan, keys: &BTreeMap<&'a Bytes, usize>) -> Vec<(&'a Bytes, Before)> {
    let rows: BTreeMap<&Bytes, Before> =
        scan.rows.iter().map(|row| (&row.key, Before::Present(row.seen.clone()))).collect();
    let last = rows.last_key_value().map(|(key, _)| *key);
    let end = match (scan.complete, last) {
        (true, _) if scan.end.is_empty() => Bound::Unbounded,
        (true, _) => Bound::Excluded(&scan.end),
        (false, Some(last)) => Bound::Included(last),
        (false, None) => return Vec::new(),
    };
    let absent = || Before::Absent;
    keys.keys()
        .skip_while(|key| **key < &scan.start)
        .take_while(|key| match end {
            Bound::Unbounded => true,
            Bound::Included(last) => **key <= last,
            Bound::Excluded(end) => **key < end,
        })
        .map(|key| (*key, rows.get(key).cloned().unwrap_or_else(absent)))
        .collect()
}
