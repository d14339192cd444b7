//! Commands and what they are made of.

use bytes::Bytes;
use shardbearer_core::ids::SessionId;
use shardbearer_core::kv::{Command, Condition, ExpireWhen, Expiry, RequestId, Scan};
use shardbearer_core::limits;

use super::{ConvertError, id16, id16_bytes, missing};
use crate::pb;

impl From<&RequestId> for pb::RequestId {
    fn from(id: &RequestId) -> Self {
        pb::RequestId {
            session: id16_bytes(id.session.0),
            number: id.number,
            unanswered_from: id.unanswered_from,
            retry: id.retry,
        }
    }
}

impl TryFrom<pb::RequestId> for RequestId {
    type Error = ConvertError;

    fn try_from(id: pb::RequestId) -> Result<Self, ConvertError> {
        let session = SessionId(id16("RequestId.session", &id.session)?);
        if session.is_none() {
            return Err(ConvertError::Field { field: "RequestId.session", why: "must not be zero" });
        }
        if id.number == 0 || id.unanswered_from > id.number {
            return Err(ConvertError::Field {
                field: "RequestId.number",
                why: "must be at least 1 and not below unanswered_from",
            });
        }
        Ok(RequestId { session, number: id.number, unanswered_from: id.unanswered_from, retry: id.retry })
    }
}

fn condition_to_wire(condition: &Condition) -> Option<pb::Condition> {
    use pb::condition::Kind;
    let kind = match condition {
        Condition::Always => return None,
        Condition::Absent => Kind::Absent(true),
        Condition::Present => Kind::Present(true),
        Condition::Revision(revision) => Kind::Revision(*revision),
        Condition::Value(value) => Kind::Value(value.clone()),
        Condition::NotValue(value) => Kind::NotValue(value.clone()),
    };
    Some(pb::Condition { kind: Some(kind) })
}

fn condition_from_wire(condition: Option<pb::Condition>) -> Result<Condition, ConvertError> {
    use pb::condition::Kind;
    let Some(condition) = condition else { return Ok(Condition::Always) };
    Ok(match condition.kind.ok_or_else(|| missing("Condition.kind"))? {
        Kind::Absent(_) => Condition::Absent,
        Kind::Present(_) => Condition::Present,
        Kind::Revision(revision) => Condition::Revision(revision),
        Kind::Value(value) => Condition::Value(value),
        Kind::NotValue(value) => Condition::NotValue(value),
    })
}

fn expiry_to_wire(expiry: Expiry) -> Option<pb::Expiry> {
    use pb::expiry::Kind;
    let kind = match expiry {
        Expiry::Never => return None,
        Expiry::Keep => Kind::Keep(true),
        Expiry::At(at_ms) => Kind::AtMs(at_ms),
    };
    Some(pb::Expiry { kind: Some(kind) })
}

fn expiry_from_wire(expiry: Option<pb::Expiry>) -> Result<Expiry, ConvertError> {
    use pb::expiry::Kind;
    let Some(expiry) = expiry else { return Ok(Expiry::Never) };
    Ok(match expiry.kind.ok_or_else(|| missing("Expiry.kind"))? {
        Kind::Keep(_) => Expiry::Keep,
        Kind::AtMs(at_ms) => Expiry::At(at_ms),
    })
}

fn when_to_wire(when: ExpireWhen) -> pb::ExpireWhen {
    match when {
        ExpireWhen::Always => pb::ExpireWhen::Always,
        ExpireWhen::HasNone => pb::ExpireWhen::HasNone,
        ExpireWhen::HasOne => pb::ExpireWhen::HasOne,
        ExpireWhen::Later => pb::ExpireWhen::Later,
        ExpireWhen::Earlier => pb::ExpireWhen::Earlier,
        ExpireWhen::HasOneAndEarlier => pb::ExpireWhen::HasOneAndEarlier,
    }
}

fn when_from_wire(when: i32) -> Result<ExpireWhen, ConvertError> {
    match pb::ExpireWhen::try_from(when) {
        Ok(pb::ExpireWhen::Always) => Ok(ExpireWhen::Always),
        Ok(pb::ExpireWhen::HasNone) => Ok(ExpireWhen::HasNone),
        Ok(pb::ExpireWhen::HasOne) => Ok(ExpireWhen::HasOne),
        Ok(pb::ExpireWhen::Later) => Ok(ExpireWhen::Later),
        Ok(pb::ExpireWhen::Earlier) => Ok(ExpireWhen::Earlier),
        Ok(pb::ExpireWhen::HasOneAndEarlier) => Ok(ExpireWhen::HasOneAndEarlier),
        Err(_) => Err(ConvertError::Field { field: "Expire.when", why: "unknown value" }),
    }
}

impl From<&Command> for pb::Command {
    fn from(command: &Command) -> Self {
        use pb::command::Kind;
        let kind = match command {
            Command::Get { key } => Kind::Get(pb::Get { key: key.clone() }),
            Command::Inspect { key } => Kind::Inspect(pb::Inspect { key: key.clone() }),
            Command::Put { key, value, condition, expiry, previous } => Kind::Put(pb::Put {
                key: key.clone(),
                value: value.clone(),
                condition: condition_to_wire(condition),
                expiry: expiry_to_wire(*expiry),
                previous: *previous,
            }),
            Command::Delete { key, condition, previous } => Kind::Delete(pb::Delete {
                key: key.clone(),
                condition: condition_to_wire(condition),
                previous: *previous,
            }),
            Command::Increment { key, by } => Kind::Increment(pb::Increment { key: key.clone(), by: *by }),
            Command::IncrementFloat { key, by } => {
                Kind::IncrementFloat(pb::IncrementFloat { key: key.clone(), by: *by })
            }
            Command::Append { key, value } => {
                Kind::Append(pb::Append { key: key.clone(), value: value.clone() })
            }
            Command::SetRange { key, offset, value } => {
                Kind::SetRange(pb::SetRange { key: key.clone(), offset: *offset, value: value.clone() })
            }
            Command::Expire { key, at_ms, when } => {
                Kind::Expire(pb::Expire { key: key.clone(), at_ms: *at_ms, when: when_to_wire(*when).into() })
            }
            Command::Check { key, condition } => {
                Kind::Check(pb::Check { key: key.clone(), condition: condition_to_wire(condition) })
            }
            Command::Batch { commands, all_or_nothing } => Kind::Batch(pb::Batch {
                commands: commands.iter().map(Into::into).collect(),
                all_or_nothing: *all_or_nothing,
            }),
            Command::Scan(scan) => Kind::Scan(pb::Scan {
                start: scan.start.clone(),
                end: scan.end.clone(),
                limit: scan.limit,
                bytes_max: scan.bytes,
                keys_only: scan.keys_only,
            }),
            Command::Count => Kind::Count(pb::Count {}),
            Command::Clear => Kind::Clear(pb::Clear {}),
            Command::Adopt { epoch } => Kind::Adopt(pb::Adopt { epoch: *epoch }),
            Command::Migrate(migrate) => Kind::Migrate(migrate.into()),
            Command::Sweep { limit } => Kind::Sweep(pb::Sweep { limit: *limit }),
        };
        pb::Command { kind: Some(kind) }
    }
}

impl TryFrom<pb::Command> for Command {
    type Error = ConvertError;

    fn try_from(command: pb::Command) -> Result<Self, ConvertError> {
        from_wire(command, true)
    }
}

/// `outer`: batches do not nest, which also bounds the recursion.
fn from_wire(command: pb::Command, outer: bool) -> Result<Command, ConvertError> {
    use pb::command::Kind;
    Ok(match command.kind.ok_or_else(|| missing("Command.kind"))? {
        Kind::Get(pb::Get { key }) => Command::Get { key },
        Kind::Inspect(pb::Inspect { key }) => Command::Inspect { key },
        Kind::Put(put) => Command::Put {
            key: put.key,
            value: put.value,
            condition: condition_from_wire(put.condition)?,
            expiry: expiry_from_wire(put.expiry)?,
            previous: put.previous,
        },
        Kind::Delete(delete) => Command::Delete {
            key: delete.key,
            condition: condition_from_wire(delete.condition)?,
            previous: delete.previous,
        },
        Kind::Increment(pb::Increment { key, by }) => Command::Increment { key, by },
        Kind::IncrementFloat(pb::IncrementFloat { key, by }) => Command::IncrementFloat { key, by },
        Kind::Append(pb::Append { key, value }) => Command::Append { key, value },
        Kind::SetRange(pb::SetRange { key, offset, value }) => Command::SetRange { key, offset, value },
        Kind::Expire(expire) => {
            Command::Expire { key: expire.key, at_ms: expire.at_ms, when: when_from_wire(expire.when)? }
        }
        Kind::Check(check) => {
            Command::Check { key: check.key, condition: condition_from_wire(check.condition)? }
        }
        Kind::Batch(batch) if outer => {
            if batch.commands.len() > limits::BATCH_COMMANDS_MAX {
                return Err(ConvertError::Field { field: "Batch.commands", why: "too many" });
            }
            let commands = batch.commands.into_iter().map(|inner| from_wire(inner, false));
            Command::Batch {
                commands: commands.collect::<Result<_, _>>()?,
                all_or_nothing: batch.all_or_nothing,
            }
        }
        Kind::Batch(_) => {
            return Err(ConvertError::Field { field: "Batch.commands", why: "batches do not nest" });
        }
        Kind::Scan(scan) => Command::Scan(Scan {
            start: scan.start,
            end: scan.end,
            limit: scan.limit,
            bytes: scan.bytes_max,
            keys_only: scan.keys_only,
        }),
        Kind::Count(_) => Command::Count,
        Kind::Clear(_) => Command::Clear,
        Kind::Adopt(pb::Adopt { epoch }) => Command::Adopt { epoch },
        Kind::Migrate(migrate) if outer => Command::Migrate(migrate.try_into()?),
        Kind::Migrate(_) => {
            return Err(ConvertError::Field {
                field: "Batch.commands",
                why: "a migration is no part of a batch",
            });
        }
        Kind::Sweep(pb::Sweep { limit }) => Command::Sweep { limit },
    })
}

/// Whether a command is one for clients: with keys and values within the limits, and none of those that only
/// heralds propose. The error is a sentence for the client.
pub fn client_may_send(command: &Command, value_bytes_max: usize) -> Result<(), String> {
    let key_ok = |key: &Bytes| match key.len() {
        0 => Err("the key is empty; keys have 1 to 4096 bytes".to_owned()),
        len if len > limits::KEY_BYTES_MAX => {
            Err(format!("the key has {len} bytes; at most {} are allowed", limits::KEY_BYTES_MAX))
        }
        _ => Ok(()),
    };
    let value_ok = |len: usize| match len {
        len if len > value_bytes_max => {
            Err(format!("the value has {len} bytes; at most {value_bytes_max} are allowed"))
        }
        _ => Ok(()),
    };
    match command {
        Command::Batch { commands, .. } => {
            if commands.is_empty() || commands.len() > limits::BATCH_COMMANDS_MAX {
                return Err(format!("a batch has 1 to {} commands", limits::BATCH_COMMANDS_MAX));
            }
            for inner in commands {
                if matches!(inner, Command::Batch { .. }) || inner.key().is_none() {
                    return Err("a batch holds only commands on single keys".into());
                }
                client_may_send(inner, value_bytes_max)?;
            }
            Ok(())
        }
        Command::Adopt { .. } | Command::Migrate(_) | Command::Sweep { .. } => {
            Err("this command is not for clients".into())
        }
        Command::Scan(scan) => {
            let longest = scan.start.len().max(scan.end.len());
            // One byte more than a key: the successor of the longest key is a valid bound.
            if longest > limits::KEY_BYTES_MAX + 1 {
                Err("a bound of the scan is longer than any key".into())
            } else {
                Ok(())
            }
        }
        Command::Count | Command::Clear => Ok(()),
        Command::Put { key, value, condition, .. } => {
            key_ok(key)?;
            value_ok(value.len())?;
            value_ok(condition_bytes(condition))
        }
        Command::Append { key, value } => key_ok(key).and_then(|()| value_ok(value.len())),
        Command::SetRange { key, offset, value } => {
            key_ok(key)?;
            value_ok(usize::try_from(*offset).unwrap_or(usize::MAX).saturating_add(value.len()))
        }
        Command::Delete { key, condition, .. } | Command::Check { key, condition } => {
            key_ok(key).and_then(|()| value_ok(condition_bytes(condition)))
        }
        Command::IncrementFloat { key, by } => {
            key_ok(key)?;
            if by.is_finite() { Ok(()) } else { Err("the increment is not a finite number".into()) }
        }
        Command::Get { key }
        | Command::Inspect { key }
        | Command::Increment { key, .. }
        | Command::Expire { key, .. } => key_ok(key),
    }
}

fn condition_bytes(condition: &Condition) -> usize {
    match condition {
        Condition::Value(value) | Condition::NotValue(value) => value.len(),
        Condition::Always | Condition::Absent | Condition::Present | Condition::Revision(_) => 0,
    }
}
