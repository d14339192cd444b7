//! From a line to an operation.

use serde_json::Value;
use shardbearer_core::kv::Condition;
use thiserror::Error;

use super::fields::{Fields, Wrong};
use super::once::repeated;
use crate::history::model::{
    Action, Answer, Before, Kind, Lifetime, Operation, Outcome, Row, Scan, Seen, Step,
};

/// A line that is no operation.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {why}")]
pub struct BrokenLine {
    /// Counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

/// Reads a whole history. Lines that are blank are passed over.
pub fn parse(text: &str) -> Result<Vec<Operation>, BrokenLine> {
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    lines.map(|(text, line)| parse_line(text, line)).collect()
}

/// Reads one line, which gives the operation its number.
pub fn parse_line(text: &str, line: u64) -> Result<Operation, BrokenLine> {
    let broken = |why| BrokenLine { line, why };
    let value: Value = serde_json::from_str(text).map_err(|error| broken(unreadable(&error)))?;
    if let Some(name) = repeated(text) {
        return Err(broken(format!("the field {name:?} comes twice")));
    }
    let mut fields = Fields::of(value, "an operation").map_err(broken)?;
    operation(&mut fields, line).and_then(|operation| fields.end().map(|()| operation)).map_err(broken)
}

/// What the parser says, without its line number: to it, every line is the first.
fn unreadable(error: &serde_json::Error) -> Wrong {
    let said = error.to_string();
    let why = said.rsplit_once(" at line ").map_or(said.as_str(), |(why, _)| why);
    format!("no JSON: {why}, at column {}", error.column())
}

fn operation(fields: &mut Fields, line: u64) -> Result<Operation, Wrong> {
    let client = fields.must("client", Fields::whole)?;
    let start_ns = fields.must("start_ns", Fields::whole)?;
    let end_ns = fields.whole("end_ns")?;
    if end_ns.is_some_and(|end_ns| end_ns < start_ns) {
        return Err("\"end_ns\" is before \"start_ns\"".into());
    }
    let outcome = match fields.must("outcome", Fields::word)?.as_str() {
        "ok" => Outcome::Ok,
        "refused" => Outcome::Refused,
        "unknown" => Outcome::Unknown,
        other => return Err(format!("\"outcome\" is ok, refused or unknown, not {other:?}")),
    };
    let answered = outcome == Outcome::Ok;
    if answered && end_ns.is_none() {
        return Err("\"end_ns\" is missing, and the outcome is ok".into());
    }
    let action = match fields.must("op", Fields::word)?.as_str() {
        "batch" => batch(fields, answered)?,
        "scan" => scan(fields, answered)?,
        op => Action::One(step(fields, op, answered)?),
    };
    Ok(Operation { line, client, start_ns, end_ns, action, outcome })
}

fn batch(fields: &mut Fields, answered: bool) -> Result<Action, Wrong> {
    let steps = fields.must("steps", Fields::list)?.into_iter().map(|value| {
        let mut fields = Fields::of(value, "a step")?;
        let op = fields.must("op", Fields::word)?;
        let told = answered && fields.has("result");
        let step = step(&mut fields, &op, told)?;
        fields.end().map(|()| step)
    });
    let steps: Vec<Step> = steps.collect::<Result<_, Wrong>>()?;
    if steps.is_empty() {
        return Err("\"steps\" is empty".into());
    }
    let all_or_nothing = fields.flag("all_or_nothing")?.unwrap_or(false);
    let mut applied = None;
    if let Some(mut result) = result(fields, answered)? {
        applied = result.flag("applied")?;
        result.end()?;
    }
    Ok(Action::Batch { steps, all_or_nothing, applied })
}

fn scan(fields: &mut Fields, answered: bool) -> Result<Action, Wrong> {
    let mut scan = Scan {
        start: fields.bytes("start")?.unwrap_or_default(),
        end: fields.bytes("end")?.unwrap_or_default(),
        ..Scan::default()
    };
    match result(fields, answered)? {
        None if answered => return Err("\"result\" is missing: a scan has rows".into()),
        None => {}
        Some(mut result) => {
            for value in result.must("rows", Fields::list)? {
                let mut fields = Fields::of(value, "a row")?;
                let key = fields.must("key", Fields::bytes)?;
                scan.rows.push(Row { key, seen: seen(&mut fields)? });
                fields.end()?;
            }
            scan.complete = result.flag("complete")?.unwrap_or(true);
            result.end()?;
        }
    }
    Ok(Action::Scan(scan))
}

fn step(fields: &mut Fields, op: &str, answered: bool) -> Result<Step, Wrong> {
    let key = fields.must("key", Fields::bytes)?;
    let kind = match op {
        "get" => Kind::Get,
        "put" => {
            let value = fields.must("value", Fields::bytes)?;
            Kind::Put { value, condition: condition(fields)?, lifetime: lifetime(fields)? }
        }
        "delete" => Kind::Delete { condition: condition(fields)? },
        "increment" => Kind::Increment { by: fields.integer("by")?.unwrap_or(1) },
        "append" => Kind::Append { value: fields.must("value", Fields::bytes)? },
        "check" => Kind::Check { condition: condition(fields)? },
        other => {
            let known = "get, put, delete, increment, append, check, batch or scan";
            return Err(format!("\"op\" is {known}, not {other:?}"));
        }
    };
    let answer = match result(fields, answered)? {
        Some(mut result) => {
            let answer = answer(&kind, &mut result)?;
            result.end()?;
            Some(answer)
        }
        None if answered && kind == Kind::Get => {
            return Err("\"result\" is missing: a get found a value or null".into());
        }
        None => answered.then_some(Answer::APPLIED),
    };
    Ok(Step { key, kind, answer })
}

/// The field `result`, which only an answered operation has.
fn result(fields: &mut Fields, answered: bool) -> Result<Option<Fields>, Wrong> {
    match fields.take("result") {
        Some(_) if !answered => Err("a \"result\" goes with the outcome ok alone".into()),
        Some(value) => Fields::of(value, "\"result\"").map(Some),
        None => Ok(None),
    }
}

fn answer(kind: &Kind, result: &mut Fields) -> Result<Answer, Wrong> {
    let applied = result.flag("applied")?.unwrap_or(true);
    let mut answer = Answer { applied, ..Answer::APPLIED };
    match kind {
        Kind::Get => answer.before = before(result)?,
        Kind::Put { .. } | Kind::Delete { .. } | Kind::Check { .. } => {
            answer.before = match (result.take("before"), result.flag("existed")?) {
                (Some(value), _) => {
                    let mut fields = Fields::of(value, "\"before\"")?;
                    let before = before(&mut fields)?;
                    fields.end()?;
                    before
                }
                (None, Some(true)) => Before::Present(Seen::default()),
                (None, Some(false)) => Before::Absent,
                (None, None) => Before::Untold,
            };
        }
        Kind::Increment { .. } => answer.number = result.integer("number")?,
        Kind::Append { .. } => answer.length = result.whole("length")?,
    }
    // That of a get belongs to what it saw.
    if *kind != Kind::Get {
        answer.revision = result.whole("revision")?;
    }
    Ok(answer)
}

/// What was there: `{"value": ...}`, with `null` for absent; without a value only that it was there.
fn before(fields: &mut Fields) -> Result<Before, Wrong> {
    if fields.take_null("value") {
        return Ok(Before::Absent);
    }
    seen(fields).map(Before::Present)
}

fn seen(fields: &mut Fields) -> Result<Seen, Wrong> {
    Ok(Seen { value: fields.bytes("value")?, revision: fields.whole("revision")? })
}

fn condition(fields: &mut Fields) -> Result<Condition, Wrong> {
    let Some(value) = fields.take("condition") else { return Ok(Condition::Always) };
    match value.as_str() {
        Some("absent") => return Ok(Condition::Absent),
        Some("present") => return Ok(Condition::Present),
        Some(_) | None => {}
    }
    let known = "\"absent\", \"present\", {\"revision\": n}, {\"value\": ...} or {\"not_value\": ...}";
    let wrong = |value: &Value| format!("\"condition\" is {known}, not {value}");
    let mut fields = Fields::of(value.clone(), "\"condition\"").map_err(|_| wrong(&value))?;
    let condition = match (fields.whole("revision")?, fields.bytes("value")?, fields.bytes("not_value")?) {
        (Some(revision), None, None) => Condition::Revision(revision),
        (None, Some(value), None) => Condition::Value(value),
        (None, None, Some(value)) => Condition::NotValue(value),
        _ => return Err(wrong(&value)),
    };
    fields.end().map(|()| condition)
}

fn lifetime(fields: &mut Fields) -> Result<Lifetime, Wrong> {
    match (fields.whole("ttl_ms")?, fields.flag("keep_ttl")?) {
        (Some(_), Some(true)) => Err("\"ttl_ms\" and \"keep_ttl\" exclude each other".into()),
        (Some(ms), _) => Ok(Lifetime::Milliseconds(ms)),
        (None, Some(true)) => Ok(Lifetime::Keep),
        (None, Some(false) | None) => Ok(Lifetime::Forever),
    }
}
