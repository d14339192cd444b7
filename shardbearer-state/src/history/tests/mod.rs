//! The oracle held against histories whose verdict is known.

mod classic;
mod lines;
mod properties;
mod store;

use bytes::Bytes;
use shardbearer_core::kv::Condition;

use super::{
    Action, Answer, Before, Kind, Lifetime, Operation, Options, Outcome, Report, Row, Scan, Seen, Step,
    Violation, check,
};

/// Milliseconds; a call that took place between two points in time.
fn call(client: u64, times: (u64, u64), kind: Kind, answer: Answer) -> Operation {
    Operation {
        line: 0,
        client,
        start_ns: times.0 * 1_000_000,
        end_ns: Some(times.1 * 1_000_000),
        action: Action::One(Step { key: "k".into(), kind, answer: Some(answer) }),
        outcome: Outcome::Ok,
    }
}

/// The same without an answer.
fn unknown(client: u64, times: (u64, u64), kind: Kind) -> Operation {
    let mut operation = call(client, times, kind, Answer::APPLIED);
    operation.outcome = Outcome::Unknown;
    operation.action = without_answer(operation.action);
    operation
}

fn refused(client: u64, times: (u64, u64), kind: Kind) -> Operation {
    Operation { outcome: Outcome::Refused, ..unknown(client, times, kind) }
}

fn without_answer(action: Action) -> Action {
    match action {
        Action::One(step) => Action::One(Step { answer: None, ..step }),
        Action::Batch { .. } | Action::Scan(_) => action,
    }
}

fn on(key: &str, mut operation: Operation) -> Operation {
    if let Action::One(step) = &mut operation.action {
        step.key = Bytes::copy_from_slice(key.as_bytes());
    }
    operation
}

fn put(value: &str) -> Kind {
    put_if(value, Condition::Always)
}

fn put_if(value: &str, condition: Condition) -> Kind {
    Kind::Put { value: Bytes::copy_from_slice(value.as_bytes()), condition, lifetime: Lifetime::Forever }
}

fn put_for(value: &str, ms: u64) -> Kind {
    let value = Bytes::copy_from_slice(value.as_bytes());
    Kind::Put { value, condition: Condition::Always, lifetime: Lifetime::Milliseconds(ms) }
}

fn write(client: u64, times: (u64, u64), value: &str) -> Operation {
    call(client, times, put(value), Answer::APPLIED)
}

/// A get that found this, or nothing if it is empty.
fn read(client: u64, times: (u64, u64), value: &str) -> Operation {
    let found = (!value.is_empty()).then(|| Bytes::copy_from_slice(value.as_bytes()));
    call(client, times, Kind::Get, Answer::found(found))
}

fn read_at(client: u64, times: (u64, u64), value: &str, revision: u64) -> Operation {
    let seen = Seen { value: Some(Bytes::copy_from_slice(value.as_bytes())), revision: Some(revision) };
    call(client, times, Kind::Get, Answer { before: Before::Present(seen), ..Answer::APPLIED })
}

fn revised(revision: u64) -> Answer {
    Answer { revision: Some(revision), ..Answer::APPLIED }
}

fn count(client: u64, times: (u64, u64), by: i64, number: i64) -> Operation {
    call(client, times, Kind::Increment { by }, Answer { number: Some(number), ..Answer::APPLIED })
}

fn delete() -> Kind {
    Kind::Delete { condition: Condition::Always }
}

/// Numbers the operations as lines of a file.
fn numbered(history: Vec<Operation>) -> Vec<Operation> {
    history.into_iter().zip(1..).map(|(operation, line)| Operation { line, ..operation }).collect()
}

fn judge(history: Vec<Operation>) -> Report {
    check(&numbered(history), &Options::default(), |_| ())
}

#[track_caller]
fn right(history: Vec<Operation>) {
    let report = judge(history);
    assert!(
        report.passed(),
        "{:#?}",
        report.violations.iter().flat_map(Violation::lines).collect::<Vec<_>>()
    );
}

/// Wrong, with these lines as the window that proves it.
#[track_caller]
fn wrong(history: Vec<Operation>, lines: &[usize]) -> Vec<String> {
    let report = judge(history);
    let Some(Violation::NoOrder { window, text, .. }) = report.violations.first() else {
        panic!("accepted, or wrong in another way: {report:?}")
    };
    let found: Vec<usize> = window.iter().map(|index| index + 1).collect();
    assert_eq!(found, lines, "{}", text.join("\n"));
    text.clone()
}
