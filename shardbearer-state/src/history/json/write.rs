//! From an operation to a line.

use serde_json::{Map, Value, json};
use shardbearer_core::kv::Condition;

use super::fields::insert_bytes;
use crate::history::model::{Action, Answer, Before, Kind, Lifetime, Operation, Outcome, Scan, Seen, Step};

/// One operation as a line, without the newline. Its number is not written: it is the line's.
pub fn line(operation: &Operation) -> String {
    let mut object = Map::new();
    object.insert("client".into(), operation.client.into());
    match &operation.action {
        Action::One(step) => insert_step(&mut object, step, operation.outcome == Outcome::Ok),
        Action::Batch { steps, all_or_nothing, applied } => {
            object.insert("op".into(), "batch".into());
            let step = |step: &Step| {
                let mut object = Map::new();
                insert_step(&mut object, step, step.answer.is_some());
                Value::Object(object)
            };
            object.insert("steps".into(), steps.iter().map(step).collect());
            object.insert("all_or_nothing".into(), (*all_or_nothing).into());
            if let Some(applied) = applied {
                object.insert("result".into(), json!({ "applied": applied }));
            }
        }
        Action::Scan(scan) => insert_scan(&mut object, scan, operation.outcome == Outcome::Ok),
    }
    object.insert("start_ns".into(), operation.start_ns.into());
    if let Some(end_ns) = operation.end_ns {
        object.insert("end_ns".into(), end_ns.into());
    }
    let outcome = match operation.outcome {
        Outcome::Ok => "ok",
        Outcome::Refused => "refused",
        Outcome::Unknown => "unknown",
    };
    object.insert("outcome".into(), outcome.into());
    Value::Object(object).to_string()
}

fn insert_step(object: &mut Map<String, Value>, step: &Step, answered: bool) {
    let op = match &step.kind {
        Kind::Get => "get",
        Kind::Put { .. } => "put",
        Kind::Delete { .. } => "delete",
        Kind::Increment { .. } => "increment",
        Kind::Append { .. } => "append",
        Kind::Check { .. } => "check",
    };
    object.insert("op".into(), op.into());
    insert_bytes(object, "key", &step.key);
    match &step.kind {
        Kind::Get => {}
        Kind::Put { value, condition, lifetime } => {
            insert_bytes(object, "value", value);
            insert_condition(object, condition);
            match lifetime {
                Lifetime::Forever => None,
                Lifetime::Keep => object.insert("keep_ttl".into(), true.into()),
                Lifetime::Milliseconds(ms) => object.insert("ttl_ms".into(), (*ms).into()),
            };
        }
        Kind::Delete { condition } | Kind::Check { condition } => insert_condition(object, condition),
        Kind::Increment { by } => {
            object.insert("by".into(), (*by).into());
        }
        Kind::Append { value } => insert_bytes(object, "value", value),
    }
    if let Some(answer) = step.answer.as_ref().filter(|_| answered) {
        object.insert("result".into(), result(&step.kind, answer));
    }
}

fn result(kind: &Kind, answer: &Answer) -> Value {
    let mut object = Map::new();
    if *kind == Kind::Get {
        insert_before(&mut object, &answer.before);
        return Value::Object(object);
    }
    object.insert("applied".into(), answer.applied.into());
    if answer.before != Before::Untold {
        let mut before = Map::new();
        insert_before(&mut before, &answer.before);
        object.insert("before".into(), before.into());
    }
    let numbers = [("number", answer.number.map(Value::from)), ("length", answer.length.map(Value::from))];
    for (name, value) in numbers.into_iter().chain([("revision", answer.revision.map(Value::from))]) {
        if let Some(value) = value {
            object.insert(name.into(), value);
        }
    }
    Value::Object(object)
}

fn insert_before(object: &mut Map<String, Value>, before: &Before) {
    match before {
        Before::Untold => {}
        Before::Absent => {
            object.insert("value".into(), Value::Null);
        }
        Before::Present(seen) => insert_seen(object, seen),
    }
}

fn insert_seen(object: &mut Map<String, Value>, seen: &Seen) {
    if let Some(value) = &seen.value {
        insert_bytes(object, "value", value);
    }
    if let Some(revision) = seen.revision {
        object.insert("revision".into(), revision.into());
    }
}

fn insert_condition(object: &mut Map<String, Value>, condition: &Condition) {
    let mut nested = Map::new();
    let value = match condition {
        Condition::Always => return,
        Condition::Absent => "absent".into(),
        Condition::Present => "present".into(),
        Condition::Revision(revision) => json!({ "revision": revision }),
        Condition::Value(value) => {
            insert_bytes(&mut nested, "value", value);
            nested.into()
        }
        Condition::NotValue(value) => {
            insert_bytes(&mut nested, "not_value", value);
            nested.into()
        }
    };
    object.insert("condition".into(), value);
}

fn insert_scan(object: &mut Map<String, Value>, scan: &Scan, answered: bool) {
    object.insert("op".into(), "scan".into());
    for (name, key) in [("start", &scan.start), ("end", &scan.end)] {
        if !key.is_empty() {
            insert_bytes(object, name, key);
        }
    }
    if !answered {
        return;
    }
    let row = |row: &crate::history::model::Row| {
        let mut object = Map::new();
        insert_bytes(&mut object, "key", &row.key);
        insert_seen(&mut object, &row.seen);
        Value::Object(object)
    };
    let rows: Vec<Value> = scan.rows.iter().map(row).collect();
    object.insert("result".into(), json!({ "rows": rows, "complete": scan.complete }));
}
