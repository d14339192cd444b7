//! Violations as lines that people read.

use std::fmt::Write;

use bytes::Bytes;
use shardbearer_core::kv::Condition;

use super::model::{Action, Answer, Before, Kind, Lifetime, Operation, Outcome, Seen, Step};
use super::partition::Part;
use super::window::Window;

/// Operations shown of a window that could not be made smaller.
const SHOWN_MAX: usize = 100;
/// Optional operations up to which they are shown.
const OPTIONAL_SHOWN_MAX: usize = 8;
/// Characters shown of a value.
const VALUE_SHOWN_MAX: usize = 60;

/// The operations of a window, where the values came from that they saw, and what was left out.
pub(super) fn window(history: &[Operation], part: &Part<'_>, window: &Window) -> Vec<String> {
    let names: Vec<Bytes> = part.keys.iter().map(|key| (*key).clone()).collect();
    let held = match window.from_anything {
        true => "whatever was there before",
        false => "from the absent key on that the history begins with",
    };
    let mut lines = vec![match window.operations.as_slice() {
        [_] => format!("{}: nothing explains this operation, {held}:", keys(&names)),
        several => format!("{}: no order explains these {} operations, {held}:", keys(&names), several.len()),
    }];
    let skipped = window.operations.len().saturating_sub(SHOWN_MAX);
    let shown: Vec<&Operation> = window.operations.iter().skip(skipped).map(|at| &history[*at]).collect();
    if skipped > 0 {
        lines.push(format!("  ... {skipped} earlier ones"));
    }
    let zero_ns = shown.iter().map(|operation| operation.start_ns).min().unwrap_or_default();
    lines.extend(shown.iter().map(|operation| format!("  {}", line(operation, zero_ns, &names))));
    lines.extend(origins(history, part, &shown));
    match window.optional.len() {
        0 => {}
        1..=OPTIONAL_SHOWN_MAX => {
            lines.push("  no help, whether or not they happened at any time after their start:".into());
            let optional = window.optional.iter().map(|at| &history[*at]);
            lines.extend(optional.map(|operation| format!("  {}", line(operation, zero_ns, &names))));
        }
        many => lines.push(format!("  no help, whether or not they happened: {many} more")),
    }
    lines
}

/// A scan that returned a row it should not have.
pub(super) fn bad_row(key: &Bytes, scan: &Operation) -> String {
    format!(
        "{}: returned twice or out of range by the scan of line {}, client {}",
        text(key),
        scan.line,
        scan.client
    )
}

/// Names of keys, the first few of many.
pub(super) fn keys(keys: &[Bytes]) -> String {
    let mut names: Vec<String> = keys.iter().take(5).map(text).collect();
    if keys.len() > names.len() {
        names.push(format!("and {} more", keys.len() - names.len()));
    }
    format!("key {}", names.join(", "))
}

/// One operation: which line, who, when, what, and what was told.
fn line(operation: &Operation, zero_ns: u64, keys: &[Bytes]) -> String {
    let ms = |ns: u64| format!("{:.6}", (ns as f64 - zero_ns as f64) / 1e6);
    let end = operation.end_ns.map_or_else(|| "?".into(), ms);
    let what = match &operation.action {
        Action::One(of) => step(of),
        Action::Batch { steps, all_or_nothing, applied } => {
            let steps: Vec<String> = steps.iter().map(step).collect();
            let mode = if *all_or_nothing { "all or nothing " } else { "" };
            let end = if *applied == Some(false) { " -> not applied" } else { "" };
            format!("batch {mode}[{}]{end}", steps.join("; "))
        }
        Action::Scan(scan) => {
            let seen = |key: &Bytes| {
                let row = scan.rows.iter().find(|row| row.key == *key);
                format!("{} -> {}", text(key), row.map_or_else(|| "absent".into(), |row| saw(&row.seen)))
            };
            format!("scan {}", keys.iter().map(seen).collect::<Vec<_>>().join("; "))
        }
    };
    let outcome = match operation.outcome {
        Outcome::Ok => "",
        Outcome::Refused => " -> refused",
        Outcome::Unknown => " -> unknown",
    };
    let (number, client) = (operation.line, operation.client);
    format!(
        "line {number:<6} client {client:<4} {:>12} .. {end:<12} ms  {what}{outcome}",
        ms(operation.start_ns)
    )
}

fn step(step: &Step) -> String {
    let key = text(&step.key);
    let mut out = match &step.kind {
        Kind::Get => format!("get {key}"),
        Kind::Put { value, condition, lifetime } => {
            let lifetime = match lifetime {
                Lifetime::Forever => String::new(),
                Lifetime::Keep => " keeping its expiry".into(),
                Lifetime::Milliseconds(ms) => format!(" for {ms} ms"),
            };
            format!("put {key} {}{lifetime}{}", text(value), on(condition))
        }
        Kind::Delete { condition } => format!("delete {key}{}", on(condition)),
        Kind::Increment { by } => format!("increment {key} by {by}"),
        Kind::Append { value } => format!("append {key} {}", text(value)),
        Kind::Check { condition } => format!("check {key}{}", on(condition)),
    };
    if let Some(answer) = &step.answer {
        let _ = write!(out, " -> {}", told(answer));
    }
    out
}

fn on(condition: &Condition) -> String {
    match condition {
        Condition::Always => String::new(),
        Condition::Absent => " if absent".into(),
        Condition::Present => " if present".into(),
        Condition::Revision(revision) => format!(" if revision {revision}"),
        Condition::Value(value) => format!(" if {}", text(value)),
        Condition::NotValue(value) => format!(" if not {}", text(value)),
    }
}

fn told(answer: &Answer) -> String {
    let mut words = Vec::new();
    if !answer.applied {
        words.push("not applied".to_owned());
    }
    match &answer.before {
        Before::Untold => {}
        Before::Absent => words.push("absent".into()),
        Before::Present(seen) => words.push(saw(seen)),
    }
    words.extend(answer.number.map(|number| number.to_string()));
    words.extend(answer.length.map(|length| format!("length {length}")));
    words.extend(answer.revision.map(|revision| format!("revision {revision}")));
    if words.is_empty() { "ok".into() } else { words.join(", ") }
}

fn saw(seen: &Seen) -> String {
    let value = seen.value.as_ref().map_or_else(|| "present".into(), text);
    seen.revision.map_or_else(|| value.clone(), |revision| format!("{value} at revision {revision}"))
}

/// Who wrote the values that were seen but not written in the window: often the whole story.
fn origins(history: &[Operation], part: &Part<'_>, shown: &[&Operation]) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, value) in shown.iter().flat_map(|operation| seen_values(operation, part)) {
        let wrote =
            |operation: &&Operation| operation.action.steps().iter().any(|step| writes(step, key, value));
        if shown.iter().any(wrote) {
            continue;
        }
        let of_key = |operation: &&Operation| operation.action.steps().iter().any(|step| step.key == *key);
        let computed = history.iter().filter(of_key).any(|operation| {
            let computes = |step: &Step| matches!(step.kind, Kind::Increment { .. } | Kind::Append { .. });
            operation.action.steps().iter().any(|step| step.key == *key && computes(step))
        });
        let said = match history.iter().rfind(wrote) {
            Some(writer) => {
                let how = match writer.outcome {
                    Outcome::Ok => "was written by",
                    Outcome::Refused => "was refused to",
                    Outcome::Unknown => "may have been written by",
                };
                format!("  {} {how} line {}, client {}", text(value), writer.line, writer.client)
            }
            None if computed => continue,
            None => format!("  {} was written by nobody", text(value)),
        };
        if !lines.contains(&said) {
            lines.push(said);
        }
    }
    lines
}

fn seen_values<'o>(operation: &'o Operation, part: &Part<'_>) -> Vec<(&'o Bytes, &'o Bytes)> {
    let before = |step: &'o Step| match step.answer.as_ref().map(|answer| &answer.before) {
        Some(Before::Present(Seen { value: Some(value), .. })) => Some((&step.key, value)),
        Some(Before::Present(_) | Before::Absent | Before::Untold) | None => None,
    };
    match &operation.action {
        Action::One(_) | Action::Batch { .. } => operation.action.steps().iter().filter_map(before).collect(),
        Action::Scan(scan) => {
            let ours = scan.rows.iter().filter(|row| part.keys.contains(&&row.key));
            ours.filter_map(|row| row.seen.value.as_ref().map(|value| (&row.key, value))).collect()
        }
    }
}

fn writes(step: &Step, key: &Bytes, wanted: &Bytes) -> bool {
    step.key == *key && matches!(&step.kind, Kind::Put { value, .. } if value == wanted)
}

/// Bytes in quotes, what is no text escaped, what is long cut.
fn text(bytes: &Bytes) -> String {
    let escaped = bytes.escape_ascii().to_string();
    match escaped.char_indices().nth(VALUE_SHOWN_MAX) {
        Some((cut, _)) => format!("\"{}\"... ({} bytes)", &escaped[..cut], bytes.len()),
        None => format!("\"{escaped}\""),
    }
}
