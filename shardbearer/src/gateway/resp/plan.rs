//! What a command on keys comes to: calls for the door, and how their replies look to the client.
//!
//! ```text
//!   arguments --translate--> Plan { calls, shape }      calls --door--> replies --shape--> bytes
//! ```
//!
//! The same plans serve pipelines, where each call goes its own way, and `EXEC`, where the commands of all
//! plans become one batch.

use bytes::Bytes;
use shardbearer_core::kv::{Command, Record, Refusal, Reply};
use shardbearer_core::limits;
use shardbearer_state::placement::slot_of;

use super::failure::Failure;
use super::reply::Writer;
use crate::kv::CallResult;

/// A translated command.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What to ask the door.
    pub calls: Calls,
    /// What the replies are to the client.
    pub shape: Shape,
}

/// The calls of one command.
#[derive(Clone, Debug, PartialEq)]
pub enum Calls {
    /// One command.
    One(Command),
    /// Commands that may go to several shards, each with its own result.
    Each(Vec<Command>),
    /// Commands on keys of one slot, in one step.
    Together(Vec<Command>),
}

/// How replies look to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The first record's value, or null.
    Value,
    /// An array of values and nulls.
    Values,
    /// What was there before, or null.
    Previous,
    /// `OK`, or null if the condition did not hold.
    Stored,
    /// `OK`.
    Done,
    /// 1 if something changed, else 0.
    Changed,
    /// 1 if all commands took effect, 0 if none.
    AllOrNone,
    /// The number or length that the reply carries.
    Plain,
    /// The decimal fraction that the reply carries.
    Float,
    /// How many keys were removed.
    Removed,
    /// How many keys exist.
    Existing,
    /// The value's length, 0 without a key.
    Length,
    /// The type of what the key holds.
    Type,
    /// Part of the value; positions as in `GETRANGE`.
    Range {
        /// First byte; counted from the end if negative.
        start: i64,
        /// Last byte; counted from the end if negative.
        end: i64,
    },
    /// When the key expires.
    Expiry {
        /// In seconds instead of milliseconds.
        seconds: bool,
        /// As Unix time instead of time left.
        absolute: bool,
    },
}

impl Plan {
    /// A command on one key.
    pub fn one(command: Command, shape: Shape) -> Plan {
        Plan { calls: Calls::One(command), shape }
    }

    /// Commands on several keys: in one step if all keys have one slot, else each on its own.
    pub fn many(mut commands: Vec<Command>, shape: Shape) -> Result<Plan, Failure> {
        let calls = match commands.len() {
            1 => commands.pop().map(Calls::One).unwrap_or(Calls::Each(commands)),
            count if count > limits::BATCH_COMMANDS_MAX => return Err(too_many()),
            _ if one_slot(&commands) => Calls::Together(commands),
            _ => Calls::Each(commands),
        };
        Ok(Plan { calls, shape })
    }

    /// Commands that make sense only in one step; their keys must have one slot.
    pub fn together(commands: Vec<Command>, shape: Shape) -> Result<Plan, Failure> {
        if commands.len() > limits::BATCH_COMMANDS_MAX {
            return Err(too_many());
        }
        if !one_slot(&commands) {
            return Err(Failure::CROSS_SLOT);
        }
        Ok(Plan { calls: Calls::Together(commands), shape })
    }

    /// The commands, one by one.
    pub fn commands(&self) -> &[Command] {
        match &self.calls {
            Calls::One(command) => std::slice::from_ref(command),
            Calls::Each(commands) | Calls::Together(commands) => commands,
        }
    }
}

impl Calls {
    /// How many calls the door sees.
    pub fn count(&self) -> usize {
        match self {
            Calls::One(_) | Calls::Together(_) => 1,
            Calls::Each(commands) => commands.len(),
        }
    }
}

fn too_many() -> Failure {
    format!("ERR at most {} keys are allowed in one command", limits::BATCH_COMMANDS_MAX).into()
}

fn one_slot(commands: &[Command]) -> bool {
    let mut slots = commands.iter().filter_map(Command::key).map(|key| slot_of(key));
    let first = slots.next();
    slots.all(|slot| Some(slot) == first)
}

/// Writes the results of one command's calls.
pub fn write_results(shape: Shape, results: &[CallResult], now_ms: u64, writer: &mut Writer) {
    if let [result] = results {
        return match result {
            Err(error) => writer.failure(&Failure::of(error)),
            Ok(Reply::Batch { replies, .. }) => {
                shape.write(&replies.iter().collect::<Vec<_>>(), now_ms, writer);
            }
            Ok(reply) => shape.write(&[reply], now_ms, writer),
        };
    }
    // An unknown outcome among refusals is the one to tell.
    let unknown = |result: &&CallResult| matches!(result, Err(error) if Failure::of(error).is_unknown());
    let failed = results.iter().find(unknown).or_else(|| results.iter().find(|result| result.is_err()));
    match failed {
        Some(Err(error)) => writer.failure(&Failure::of_part(error)),
        Some(Ok(_)) | None => {
            let replies: Vec<&Reply> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
            shape.write(&replies, now_ms, writer);
        }
    }
}

impl Shape {
    /// Writes the replies of one command. Whatever was refused makes the whole an error.
    pub fn write(self, replies: &[&Reply], now_ms: u64, writer: &mut Writer) {
        let refused = replies.iter().find_map(|reply| match reply {
            Reply::Refused(refusal) => Some(refusal),
            _ => None,
        });
        if let (Shape::Float, Some(Refusal::Overflow)) = (self, refused) {
            return writer.failure(&Failure::NOT_FINITE);
        }
        if let Some(refusal) = refused {
            return writer.failure(&Failure::refusal(refusal));
        }
        match (self, replies) {
            (Shape::Value, [Reply::Record(record), ..]) => writer.optional(value(record)),
            (Shape::Values, _) if replies.iter().all(|reply| matches!(reply, Reply::Record(_))) => {
                writer.array(replies.len());
                for reply in replies {
                    if let Reply::Record(record) = reply {
                        writer.optional(value(record));
                    }
                }
            }
            (
                Shape::Previous,
                [
                    Reply::Written { previous: record, .. }
                    | Reply::Deleted { previous: record, .. }
                    | Reply::ConditionFailed { current: record },
                ],
            ) => writer.optional(value(record)),
            (Shape::Stored, [Reply::ConditionFailed { .. }]) => writer.null(),
            (Shape::Stored | Shape::Done, [_, ..]) if replies.iter().all(|reply| is_written(reply)) => {
                writer.ok()
            }
            (Shape::Changed, [Reply::Written { .. } | Reply::Touched { changed: true }]) => writer.integer(1),
            (Shape::Changed, [Reply::ConditionFailed { .. } | Reply::Touched { changed: false }]) => {
                writer.integer(0);
            }
            (Shape::AllOrNone, [Reply::ConditionFailed { .. }]) => writer.integer(0),
            (Shape::AllOrNone, _) if replies.iter().any(|reply| is_written(reply)) => writer.integer(1),
            (Shape::Plain, [Reply::Number { value, .. }]) => writer.integer(*value),
            (Shape::Float, [Reply::Decimal { value, .. }]) => writer.value(value),
            (Shape::Plain, [Reply::Length { length, .. }]) => writer.count(*length),
            (Shape::Removed, _) => {
                let removed = |reply: &&&Reply| matches!(reply, Reply::Deleted { existed: true, .. });
                writer.count(replies.iter().filter(removed).count() as u64);
            }
            (Shape::Existing, _) => {
                let exists = |reply: &&&Reply| matches!(reply, Reply::Info(Some(_)));
                writer.count(replies.iter().filter(exists).count() as u64);
            }
            (Shape::Length, [Reply::Info(info)]) => writer.count(info.map_or(0, |info| info.length)),
            (Shape::Type, [Reply::Info(info)]) => {
                writer.simple(if info.is_some() { "string" } else { "none" });
            }
            (Shape::Range { start, end }, [Reply::Record(record)]) => {
                writer.value(&range(value(record), start, end));
            }
            (Shape::Expiry { seconds, absolute }, [Reply::Info(info)]) => {
                let expires = info.map(|info| info.expires_at_ms);
                writer.integer(expiry(expires, seconds, absolute, now_ms));
            }
            _ => writer.failure(&"UNKNOWN outcome: the shard gave an answer that makes no sense".into()),
        }
    }
}

fn is_written(reply: &Reply) -> bool {
    matches!(reply, Reply::Written { .. })
}

fn value(record: &Option<Record>) -> Option<&Bytes> {
    record.as_ref().map(|record| &record.value)
}

/// The part of a value that `GETRANGE` means.
fn range(value: Option<&Bytes>, start: i64, end: i64) -> Bytes {
    let Some(value) = value else { return Bytes::new() };
    let length = value.len() as i64;
    if start < 0 && end < 0 && start > end {
        return Bytes::new();
    }
    let place = |at: i64| if at < 0 { at.saturating_add(length).max(0) } else { at };
    let (from, to) = (place(start), place(end).saturating_add(1).min(length));
    // Both are within the value: 0 <= from < to <= length.
    if from >= to { Bytes::new() } else { value.slice(from as usize..to as usize) }
}

/// What `TTL` and its like answer: -2 without a key, -1 without an expiry.
fn expiry(expires: Option<Option<u64>>, seconds: bool, absolute: bool, now_ms: u64) -> i64 {
    let at_ms = match expires {
        None => return -2,
        Some(None) => return -1,
        Some(Some(at_ms)) => at_ms,
    };
    let ms = if absolute { at_ms } else { at_ms.saturating_sub(now_ms) };
    let number = if seconds { ms.saturating_add(500) / 1000 } else { ms };
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_redis() {
        let value = Bytes::from_static(b"This is a string");
        let check = |start, end, expect: &str| {
            assert_eq!(range(Some(&value), start, end), expect.as_bytes(), "{start} {end}");
        };
        check(0, 3, "This");
        check(-3, -1, "ing");
        check(0, -1, "This is a string");
        check(10, 100, "string");
        check(-100, 3, "This");
        check(5, 3, "");
        check(-1, -5, "");
        check(16, 20, "");
        check(i64::MIN, i64::MAX, "This is a string");
        check(i64::MAX, i64::MIN, "");
        assert_eq!(range(None, 0, -1), "");
        assert_eq!(range(Some(&Bytes::new()), 0, -1), "");
    }

    #[test]
    fn times_to_live_are_rounded_as_redis_rounds_them() {
        assert_eq!(expiry(None, true, false, 0), -2);
        assert_eq!(expiry(Some(None), true, false, 0), -1);
        assert_eq!(expiry(Some(Some(2_500)), true, false, 1_000), 2);
        assert_eq!(expiry(Some(Some(2_499)), true, false, 1_000), 1);
        assert_eq!(expiry(Some(Some(2_499)), false, false, 1_000), 1_499);
        assert_eq!(expiry(Some(Some(2_499)), false, true, 1_000), 2_499);
        assert_eq!(expiry(Some(Some(500)), false, false, 1_000), 0, "due, and not yet swept");
    }

    #[test]
    fn several_keys_go_together_only_within_one_slot() {
        let get = |key: &'static str| Command::Get { key: key.into() };
        let plan = |keys: &[&'static str]| {
            Plan::many(keys.iter().map(|key| get(key)).collect(), Shape::Values).map(|plan| plan.calls)
        };
        assert!(matches!(plan(&["a"]), Ok(Calls::One(_))));
        assert!(matches!(plan(&["{a}1", "{a}2"]), Ok(Calls::Together(_))));
        assert!(matches!(plan(&["a", "b"]), Ok(Calls::Each(_))));
        let together = Plan::together(vec![get("a"), get("b")], Shape::AllOrNone);
        assert_eq!(together, Err(Failure::CROSS_SLOT));
    }
}
