//! The commands of scripts as text, and replies as text.
//!
//! ```text
//!   get k · inspect k · put k v [if COND] [keep | until MS] [previous] · delete k [if COND] [previous]
//!   incr k N · incrfloat k F · append k v · setrange k OFFSET v
//!   expire k MS|never [none | some | later | earlier] · check k if COND
//!   batch C , C , ... · atomic C , C , ...        the second is all or nothing
//!   scan [from a] [to b] [limit N] [bytes N] [keys] · count · clear · sweep N · adopt EPOCH
//!   COND: absent · present · revision N · value v · not v
//! ```

use shardbearer_core::ids::SessionId;
use shardbearer_core::kv::{Condition, ExpireWhen, Expiry, Record, RequestId, Scan};

use super::*;

/// The request id before a command, if there is one, and the rest.
pub(super) fn session<'a, 'w>(words: &'a [&'w str]) -> (Option<RequestId>, &'a [&'w str]) {
    let numbered = words.first().and_then(|word| word.strip_prefix('s')).and_then(|id| id.parse().ok());
    let (Some(id), [_, number, rest @ ..]) = (numbered, words) else { return (None, words) };
    let number = count(number);
    let (from, rest) = match rest {
        ["from", from, rest @ ..] => (count(from), rest),
        rest => (number, rest),
    };
    match rest {
        ["retry", rest @ ..] => (Some(request(id, number, from, true)), rest),
        rest => (Some(request(id, number, from, false)), rest),
    }
}

pub(super) fn request(session: u128, number: u64, unanswered_from: u64, retry: bool) -> RequestId {
    RequestId { session: SessionId(session), number, unanswered_from, retry }
}

/// A command of the store.
pub(super) fn command(words: &[&str]) -> Command {
    match words {
        ["get", key] => Command::Get { key: text(key) },
        ["inspect", key] => Command::Inspect { key: text(key) },
        ["put", key, value, rest @ ..] => {
            let (condition, rest) = condition(rest);
            let (expiry, rest) = match rest {
                ["keep", rest @ ..] => (Expiry::Keep, rest),
                ["until", at, rest @ ..] => (Expiry::At(count(at)), rest),
                rest => (Expiry::Never, rest),
            };
            Command::Put { key: text(key), value: text(value), condition, expiry, previous: previous(rest) }
        }
        ["delete", key, rest @ ..] => {
            let (condition, rest) = condition(rest);
            Command::Delete { key: text(key), condition, previous: previous(rest) }
        }
        ["incr", key, by] => Command::Increment { key: text(key), by: by.parse().expect("a number") },
        ["incrfloat", key, by] => {
            Command::IncrementFloat { key: text(key), by: by.parse().expect("a fraction") }
        }
        ["append", key, value] => Command::Append { key: text(key), value: text(value) },
        ["setrange", key, offset, value] => {
            Command::SetRange { key: text(key), offset: count(offset), value: text(value) }
        }
        ["expire", key, at, rest @ ..] => {
            let at_ms = (*at != "never").then(|| count(at));
            let when = match rest {
                [] => ExpireWhen::Always,
                ["none"] => ExpireWhen::HasNone,
                ["some"] => ExpireWhen::HasOne,
                ["later"] => ExpireWhen::Later,
                ["earlier"] => ExpireWhen::Earlier,
                ["some", "earlier"] => ExpireWhen::HasOneAndEarlier,
                _ => panic!("unknown case: {rest:?}"),
            };
            Command::Expire { key: text(key), at_ms, when }
        }
        ["check", key, rest @ ..] => Command::Check { key: text(key), condition: condition(rest).0 },
        ["batch", rest @ ..] => Command::Batch { commands: commands(rest), all_or_nothing: false },
        ["atomic", rest @ ..] => Command::Batch { commands: commands(rest), all_or_nothing: true },
        ["scan", rest @ ..] => Command::Scan(scan(rest)),
        ["count"] => Command::Count,
        ["clear"] => Command::Clear,
        ["sweep", limit] => Command::Sweep { limit: limit.parse().expect("a number") },
        ["adopt", epoch] => Command::Adopt { epoch: count(epoch) },
        _ => panic!("unknown command: {words:?}"),
    }
}

fn commands(words: &[&str]) -> Vec<Command> {
    words.split(|word| *word == ",").filter(|words| !words.is_empty()).map(command).collect()
}

fn condition<'a, 'w>(words: &'a [&'w str]) -> (Condition, &'a [&'w str]) {
    match words {
        ["if", "absent", rest @ ..] => (Condition::Absent, rest),
        ["if", "present", rest @ ..] => (Condition::Present, rest),
        ["if", "revision", revision, rest @ ..] => (Condition::Revision(count(revision)), rest),
        ["if", "value", value, rest @ ..] => (Condition::Value(text(value)), rest),
        ["if", "not", value, rest @ ..] => (Condition::NotValue(text(value)), rest),
        rest => (Condition::Always, rest),
    }
}

fn previous(words: &[&str]) -> bool {
    match words {
        [] => false,
        ["previous"] => true,
        _ => panic!("what is {words:?}?"),
    }
}

fn scan(words: &[&str]) -> Scan {
    match words {
        [] => Scan::default(),
        ["from", start, rest @ ..] => Scan { start: text(start), ..scan(rest) },
        ["to", end, rest @ ..] => Scan { end: text(end), ..scan(rest) },
        ["limit", limit, rest @ ..] => Scan { limit: limit.parse().expect("a number"), ..scan(rest) },
        ["bytes", bytes, rest @ ..] => Scan { bytes: count(bytes), ..scan(rest) },
        ["keys", rest @ ..] => Scan { keys_only: true, ..scan(rest) },
        _ => panic!("what is {words:?}?"),
    }
}

fn count(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("{word} is no number"))
}

/// `""` is empty, `x*3` is `xxx`.
fn text(word: &str) -> Bytes {
    match (word, word.split_once('*')) {
        ("\"\"", _) => Bytes::new(),
        (_, Some((unit, times))) => unit.repeat(times.parse().expect("a number")).into(),
        _ => Bytes::copy_from_slice(word.as_bytes()),
    }
}

/// A reply in words.
pub(super) fn answer(reply: &Reply) -> String {
    match reply {
        Reply::Record(found) => record(found.as_ref()),
        Reply::Info(None) => "absent".into(),
        Reply::Info(Some(info)) => {
            format!("{} bytes, revision {}{}", info.length, info.revision, expiry(info.expires_at_ms))
        }
        Reply::Written { revision, previous } => format!("written as {revision}{}", before(previous)),
        Reply::Deleted { existed: true, previous } => format!("deleted{}", before(previous)),
        Reply::Deleted { existed: false, .. } => "nothing to delete".into(),
        Reply::ConditionFailed { current } => format!("condition failed: {}", record(current.as_ref())),
        Reply::Number { value, revision } => format!("number {value}, revision {revision}"),
        Reply::Decimal { value, revision } => format!("decimal {}, revision {revision}", shown(value)),
        Reply::Length { length, revision } => format!("length {length}, revision {revision}"),
        Reply::Touched { changed } => if *changed { "changed" } else { "not changed" }.into(),
        Reply::Batch { applied, replies } => {
            let replies: Vec<String> = replies.iter().map(answer).collect();
            format!("{}: {}", if *applied { "applied" } else { "undone" }, replies.join(" | "))
        }
        Reply::Page { rows, more } => {
            let rows: Vec<String> =
                rows.iter().map(|row| format!("{}={}", shown(&row.key), shown(&row.record.value))).collect();
            format!("page [{}]{}", rows.join(" "), if *more { " and more" } else { "" })
        }
        Reply::Count { rows, bytes } => format!("{rows} rows of {bytes} bytes"),
        Reply::Migrated(migrated) => format!("{migrated:?}"),
        Reply::Swept { removed, more } => format!("swept {removed}{}", if *more { ", more due" } else { "" }),
        Reply::Refused(refusal) => format!("refused: {refusal:?}"),
    }
}

fn record(record: Option<&Record>) -> String {
    match record {
        None => "absent".into(),
        Some(Record { value, revision, expires_at_ms }) => {
            format!("{} revision {revision}{}", shown(value), expiry(*expires_at_ms))
        }
    }
}

fn before(previous: &Option<Record>) -> String {
    previous.as_ref().map_or_else(String::new, |old| format!(", was {}", record(Some(old))))
}

fn expiry(at_ms: Option<u64>) -> String {
    at_ms.map_or_else(String::new, |at| format!(" until {at}"))
}

fn shown(bytes: &Bytes) -> String {
    match bytes.len() {
        0 => "\"\"".into(),
        length if length > 40 => format!("<{length} bytes>"),
        _ => bytes.escape_ascii().to_string(),
    }
}
