//! Reads outside the log, from a consistent view alone: no lock is shared with applying.
//!
//! The caller has taken a read barrier. Expiry is decided by the shard's replicated time, as in
//! the log; where the wall clock is ahead of it and something is due in between, the answer is
//! [`QueryOutcome::NeedsSweep`]: advance the replicated time, then ask again.

use bytes::Bytes;
use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::kv::{Command, Item, Record, Refusal, Reply, Row, Scan};
use shardbearer_core::limits;
use shardbearer_core::storage::{Space, StorageError, View};

use super::apply::{holds, info, malformed, too_large};
use crate::keys::{self, ShardMeta};

/// What a read came to.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryOutcome {
    /// The answer.
    Reply(Reply),
    /// Something expired by the wall clock but not yet by the shard's time.
    NeedsSweep,
}

/// Answers an item whose command writes nothing. `wall_ms` is this radiant's clock in Unix milliseconds.
pub fn query(
    view: &dyn View,
    order: OrderId,
    item: &Item,
    wall_ms: u64,
) -> Result<QueryOutcome, StorageError> {
    let Item { shard, command, .. } = item;
    let shard = *shard;
    if let Command::Migrate(question) = command {
        let answer = super::migrate::answer(view, order, shard, question)?;
        return Ok(QueryOutcome::Reply(Reply::Migrated(answer)));
    }
    let Some(meta) = shard_meta(view, order, shard)?.filter(|meta| meta.standing.serves()) else {
        return Ok(QueryOutcome::Reply(Reply::Refused(Refusal::WrongOrder)));
    };
    if !meta.cut.fits_item(item) {
        return Ok(QueryOutcome::Reply(Reply::Refused(Refusal::WrongOrder)));
    }
    let space = Space::Shard { order, shard, generation: meta.generation };
    Reading { view, space, meta, wall_ms }.command(command)
}

struct Reading<'a> {
    view: &'a dyn View,
    space: Space,
    meta: ShardMeta,
    wall_ms: u64,
}

/// A record as of now, or that its time must be settled first.
enum Live {
    Settled(Option<Record>),
    Due,
}

impl Reading<'_> {
    fn command(&self, command: &Command) -> Result<QueryOutcome, StorageError> {
        let reply = match command {
            Command::Get { key } => match self.live(key)? {
                Live::Settled(record) => Reply::Record(record),
                Live::Due => return Ok(QueryOutcome::NeedsSweep),
            },
            Command::Inspect { key } => match self.live(key)? {
                Live::Settled(record) => Reply::Info(record.as_ref().map(info)),
                Live::Due => return Ok(QueryOutcome::NeedsSweep),
            },
            Command::Check { key, condition } => match self.live(key)? {
                Live::Settled(current) if holds(condition, current.as_ref()) => {
                    Reply::Touched { changed: false }
                }
                Live::Settled(current) => Reply::ConditionFailed { current },
                Live::Due => return Ok(QueryOutcome::NeedsSweep),
            },
            Command::Batch { commands, .. } => return self.batch(commands),
            Command::Scan(scan) if self.anything_due()? => {
                let _ = scan;
                return Ok(QueryOutcome::NeedsSweep);
            }
            Command::Scan(scan) => self.scan(scan)?,
            Command::Count if self.anything_due()? => return Ok(QueryOutcome::NeedsSweep),
            Command::Count => self.count()?,
            Command::Put { .. }
            | Command::Delete { .. }
            | Command::Increment { .. }
            | Command::IncrementFloat { .. }
            | Command::Append { .. }
            | Command::SetRange { .. }
            | Command::Expire { .. }
            | Command::Clear
            | Command::Adopt { .. }
            | Command::Migrate(_)
            | Command::Sweep { .. } => malformed("a write must go through the log"),
        };
        Ok(QueryOutcome::Reply(reply))
    }

    /// The counters say what is stored; what has expired and was not swept yet is taken off.
    fn count(&self) -> Result<Reply, StorageError> {
        let (mut rows, mut bytes) = (self.meta.rows, self.meta.bytes);
        for row in self.view.scan(self.space, &keys::expiry_range(0, self.meta.time_ms)) {
            let Some((_, key)) = keys::expiry_parts(&row?.0) else { continue };
            if self.meta.cut.is_left_over(&key) {
                // Nor is it among what is counted, but for an order that lost the end of its log.
                continue;
            }
            let Some(row) = self.view.get(self.space, &keys::data(&key))? else { continue };
            rows = rows.saturating_sub(1);
            bytes = bytes.saturating_sub((key.len() + readable(&row)?.value.len()) as u64);
        }
        Ok(Reply::Count { rows, bytes })
    }

    fn batch(&self, commands: &[Command]) -> Result<QueryOutcome, StorageError> {
        let (mut replies, mut bytes) = (Vec::with_capacity(commands.len()), 0);
        for command in commands {
            if command.key().is_none() || matches!(command, Command::Batch { .. }) {
                return Ok(QueryOutcome::Reply(malformed("a batch holds only commands on single keys")));
            }
            let QueryOutcome::Reply(reply) = self.command(command)? else {
                return Ok(QueryOutcome::NeedsSweep);
            };
            if matches!(reply, Reply::ConditionFailed { .. }) {
                return Ok(QueryOutcome::Reply(reply));
            }
            bytes += reply.weight();
            if bytes > limits::REPLY_BYTES_MAX {
                return Ok(QueryOutcome::Reply(too_large(limits::REPLY_BYTES_MAX)));
            }
            replies.push(reply);
        }
        Ok(QueryOutcome::Reply(Reply::Batch { applied: true, replies }))
    }

    fn live(&self, key: &Bytes) -> Result<Live, StorageError> {
        let Some(row) = self.view.get(self.space, &keys::data(key))? else { return Ok(Live::Settled(None)) };
        let record = readable(&row)?;
        Ok(match record.expires_at_ms {
            Some(at) if at <= self.meta.time_ms => Live::Settled(None),
            Some(at) if at <= self.wall_ms => Live::Due,
            Some(_) | None => Live::Settled(Some(record)),
        })
    }

    fn anything_due(&self) -> Result<bool, StorageError> {
        if self.wall_ms <= self.meta.time_ms {
            return Ok(false);
        }
        let due = keys::expiry_range(self.meta.time_ms.saturating_add(1), self.wall_ms);
        Ok(self.view.scan(self.space, &due).next().transpose()?.is_some())
    }

    fn scan(&self, scan: &Scan) -> Result<Reply, StorageError> {
        let rows_max = bounded(scan.limit as usize, limits::PAGE_ROWS_MAX);
        let bytes_max = bounded(usize::try_from(scan.bytes).unwrap_or(usize::MAX), limits::PAGE_BYTES_MAX);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for row in self.view.scan(self.space, &keys::data_range(&scan.start, &scan.end)) {
            let (key, value) = row?;
            if self.meta.cut.is_left_over(key.get(1..).unwrap_or_default()) {
                continue;
            }
            let mut record = readable(&value)?;
            if record.expires_at_ms.is_some_and(|at| at <= self.meta.time_ms) {
                continue;
            }
            if scan.keys_only {
                record.value = Bytes::new();
            }
            bytes += key.len() + record.value.len();
            if rows.len() == rows_max || (bytes > bytes_max && !rows.is_empty()) {
                return Ok(Reply::Page { rows, more: true });
            }
            rows.push(Row { key: keys::user_key(&key), record });
        }
        Ok(Reply::Page { rows, more: false })
    }
}

fn bounded(asked: usize, most: usize) -> usize {
    if asked == 0 { most } else { asked.min(most) }
}

fn readable(row: &Bytes) -> Result<Record, StorageError> {
    keys::decode_record(row).ok_or_else(|| StorageError::Corrupt("a record is unreadable".into()))
}

/// What the order knows of a shard; `None` if it never had it.
pub fn shard_meta(
    view: &dyn View,
    order: OrderId,
    shard: ShardId,
) -> Result<Option<ShardMeta>, StorageError> {
    let Some(row) = view.get(Space::Order(order), &keys::shard_meta(shard))? else { return Ok(None) };
    let unreadable = || StorageError::Corrupt(format!("the record of shard {shard} is unreadable"));
    keys::decode_meta(&row).map(Some).ok_or_else(unreadable)
}

/// The shards that the order serves, ascending.
pub fn owned_shards(view: &dyn View, order: OrderId) -> Result<Vec<ShardId>, StorageError> {
    shards_where(view, order, |meta| meta.standing.serves())
}

/// The shards of which the order has such a record, ascending.
pub(super) fn shards_where(
    view: &dyn View,
    order: OrderId,
    wanted: impl Fn(&ShardMeta) -> bool,
) -> Result<Vec<ShardId>, StorageError> {
    let mut shards = Vec::new();
    for row in view.scan(Space::Order(order), &keys::shard_metas()) {
        let (key, value) = row?;
        match (keys::shard_of_meta(&key), keys::decode_meta(&value)) {
            (Some(shard), Some(meta)) if wanted(&meta) => shards.push(shard),
            (Some(_), Some(_)) => {}
            (None, _) | (_, None) => {
                return Err(StorageError::Corrupt("a shard's record is unreadable".into()));
            }
        }
    }
    Ok(shards)
}

/// When the next record of the shard expires or did expire, in Unix milliseconds.
pub fn earliest_expiry(view: &dyn View, order: OrderId, shard: ShardId) -> Result<Option<u64>, StorageError> {
    let Some(meta) = shard_meta(view, order, shard)? else { return Ok(None) };
    let space = Space::Shard { order, shard, generation: meta.generation };
    let first = view.scan(space, &keys::expiry_range(0, u64::MAX)).next().transpose()?;
    Ok(first.and_then(|(key, _)| keys::expiry_parts(&key)).map(|(at_ms, _)| at_ms))
}
