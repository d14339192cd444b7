//! What each operation does to a shard's rows. One entry point, [`Scope::command`]; everything is total:
//! what cannot be done is a reply, and then nothing was written.

use bytes::Bytes;
use shardbearer_core::kv::{Command, Condition, ExpireWhen, Expiry, Record, RecordInfo, Refusal, Reply};
use shardbearer_core::limits;
use shardbearer_core::machine::Workspace;
use shardbearer_core::storage::Space;

use super::{digest, notes, number, split};
use crate::keys::{self, ShardMeta};

/// One shard while an entry is applied to it.
pub(super) struct Scope<'a, 'v> {
    pub space: Space,
    pub meta: &'a mut ShardMeta,
    pub work: &'a mut Workspace<'v>,
}

impl Scope<'_, '_> {
    /// Carries out a command.
    pub fn command(&mut self, command: Command) -> Reply {
        // A batch's commands are looked at one by one: a bad key concerns its command alone.
        let batch = matches!(command, Command::Batch { .. });
        let unfit = |key: &Bytes| key.is_empty() || key.len() > limits::KEY_BYTES_MAX;
        if !batch && command.key().is_some_and(unfit) {
            return malformed("keys have 1 to 4096 bytes");
        }
        match command {
            Command::Get { key } => Reply::Record(self.live(&key)),
            Command::Inspect { key } => Reply::Info(self.live(&key).as_ref().map(info)),
            Command::Put { key, value, condition, expiry, previous } => {
                self.put(key, value, &condition, expiry, previous)
            }
            Command::Delete { key, condition, previous } => self.delete(&key, &condition, previous),
            Command::Increment { key, by } => self.increment(key, by),
            Command::IncrementFloat { key, by } => self.increment_float(key, by),
            Command::Append { key, value } => self.append(key, &value),
            Command::SetRange { key, offset, value } => self.set_range(key, offset, &value),
            Command::Expire { key, at_ms, when } => self.expire(key, at_ms, when),
            Command::Check { key, condition } => self.check(&key, &condition),
            Command::Batch { commands, all_or_nothing } => self.batch(commands, all_or_nothing),
            Command::Clear => self.clear(),
            Command::Sweep { limit } => self.sweep(limit),
            Command::Scan(_) | Command::Count => malformed("scans and counts do not go through the log"),
            Command::Adopt { .. } => malformed("a shard is adopted on its own"),
            Command::Migrate(_) => malformed("a step of a migration is taken on its own"),
        }
    }

    /// The record unless it is absent or expired; an expired one is removed on the way.
    fn live(&mut self, key: &Bytes) -> Option<Record> {
        let record = keys::decode_record(&self.work.get(self.space, &keys::data(key))?)?;
        if record.expires_at_ms.is_some_and(|at| at <= self.meta.time_ms) {
            self.remove(key, &record);
            return None;
        }
        Some(record)
    }

    fn next_revision(&mut self) -> u64 {
        self.meta.revision += 1;
        self.meta.revision
    }

    /// Writes a record in place of `old`.
    fn write(&mut self, key: Bytes, old: Option<&Record>, value: Bytes, expires_at_ms: Option<u64>) -> u64 {
        let revision = self.next_revision();
        let record = Record { value, revision, expires_at_ms };
        self.replace(&key, old, Some(&record));
        if expires_at_ms.is_some_and(|at| at <= self.meta.time_ms) {
            self.remove(&key, &record);
        }
        revision
    }

    fn remove(&mut self, key: &Bytes, old: &Record) {
        self.replace(key, Some(old), None);
    }

    /// The one place where a record changes: row, expiry index, counters, digest and note.
    pub(super) fn replace(&mut self, key: &Bytes, old: Option<&Record>, new: Option<&Record>) {
        let meta = &mut *self.meta;
        let row = keys::data(key);
        let crosses = meta.cut.crosses(key);
        let weighed = crosses && meta.cut.is_weighed(&row);
        let size = |record: &Record| (key.len() + record.value.len()) as u64;
        if let Some(old) = old {
            let (bytes, digest) = (size(old), digest::of_record(key, old));
            meta.rows = meta.rows.saturating_sub(1);
            meta.bytes = meta.bytes.saturating_sub(bytes);
            meta.digest = meta.digest.wrapping_sub(digest);
            if weighed {
                split::take_off(&mut meta.cut, bytes, digest);
            }
        }
        if let Some(new) = new {
            let (bytes, digest) = (size(new), digest::of_record(key, new));
            meta.rows += 1;
            meta.bytes += bytes;
            meta.digest = meta.digest.wrapping_add(digest);
            if weighed {
                split::put_on(&mut meta.cut, bytes, digest);
            }
        }
        self.index(key, old.and_then(|old| old.expires_at_ms), new.and_then(|new| new.expires_at_ms));
        if crosses || self.meta.cut.at == 0 {
            notes::note(self.meta, self.space, &row, self.work);
        }
        match new {
            Some(new) => self.work.put(self.space, row, keys::encode_record(new)),
            None => self.work.delete(self.space, row),
        }
    }

    fn index(&mut self, key: &Bytes, old: Option<u64>, new: Option<u64>) {
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.work.delete(self.space, keys::expiry(old, key));
        }
        if let Some(new) = new {
            self.work.put(self.space, keys::expiry(new, key), Bytes::new());
        }
    }

    fn put(
        &mut self,
        key: Bytes,
        value: Bytes,
        condition: &Condition,
        expiry: Expiry,
        previous: bool,
    ) -> Reply {
        let old = self.live(&key);
        if !holds(condition, old.as_ref()) {
            return Reply::ConditionFailed { current: old };
        }
        let expires_at_ms = match expiry {
            Expiry::Never => None,
            Expiry::Keep => old.as_ref().and_then(|old| old.expires_at_ms),
            // 0 stands for "none" in a row; 1970 is past either way.
            Expiry::At(at_ms) => Some(at_ms.max(1)),
        };
        let revision = self.write(key, old.as_ref(), value, expires_at_ms);
        Reply::Written { revision, previous: old.filter(|_| previous) }
    }

    fn delete(&mut self, key: &Bytes, condition: &Condition, previous: bool) -> Reply {
        let old = self.live(key);
        if !holds(condition, old.as_ref()) {
            return Reply::ConditionFailed { current: old };
        }
        if let Some(old) = &old {
            // A revision passes, so that a delete between two writes can be told by their revisions.
            self.next_revision();
            self.remove(key, old);
        }
        Reply::Deleted { existed: old.is_some(), previous: old.filter(|_| previous) }
    }

    fn increment(&mut self, key: Bytes, by: i64) -> Reply {
        let old = self.live(&key);
        let Some(present) = old.as_ref().map_or(Some(0), |old| number::integer(&old.value)) else {
            return Reply::Refused(Refusal::NotAnInteger);
        };
        let Some(value) = present.checked_add(by) else {
            return Reply::Refused(Refusal::Overflow);
        };
        let expires = old.as_ref().and_then(|old| old.expires_at_ms);
        let revision = self.write(key, old.as_ref(), value.to_string().into(), expires);
        Reply::Number { value, revision }
    }

    fn increment_float(&mut self, key: Bytes, by: f64) -> Reply {
        let old = self.live(&key);
        let present = old.as_ref().map_or(&b"0"[..], |old| &old.value);
        let value = match number::add(present, by) {
            Ok(text) => Bytes::from(text),
            Err(refusal) => return Reply::Refused(refusal),
        };
        let expires = old.as_ref().and_then(|old| old.expires_at_ms);
        let revision = self.write(key, old.as_ref(), value.clone(), expires);
        Reply::Decimal { value, revision }
    }

    fn append(&mut self, key: Bytes, tail: &Bytes) -> Reply {
        let old = self.live(&key);
        let head = old.as_ref().map_or(&b""[..], |old| &old.value);
        if head.len() + tail.len() > limits::GROWN_VALUE_BYTES_MAX {
            return too_large(limits::GROWN_VALUE_BYTES_MAX);
        }
        let value: Bytes = [head, tail].concat().into();
        self.grown(key, old, value)
    }

    fn set_range(&mut self, key: Bytes, offset: u64, patch: &Bytes) -> Reply {
        let old = self.live(&key);
        if patch.is_empty() {
            let length = old.as_ref().map_or(0, |old| old.value.len() as u64);
            return Reply::Length { length, revision: old.map_or(0, |old| old.revision) };
        }
        let end = offset.saturating_add(patch.len() as u64);
        if end > limits::GROWN_VALUE_BYTES_MAX as u64 {
            return too_large(limits::GROWN_VALUE_BYTES_MAX);
        }
        // Both fit: the sum was just compared with a limit that is a usize.
        let (from, to) = (offset as usize, end as usize);
        let mut value = old.as_ref().map_or_else(Vec::new, |old| old.value.to_vec());
        value.resize(value.len().max(to), 0);
        value[from..to].copy_from_slice(patch);
        self.grown(key, old, value.into())
    }

    fn grown(&mut self, key: Bytes, old: Option<Record>, value: Bytes) -> Reply {
        let length = value.len() as u64;
        let expires = old.as_ref().and_then(|old| old.expires_at_ms);
        let revision = self.write(key, old.as_ref(), value, expires);
        Reply::Length { length, revision }
    }

    fn expire(&mut self, key: Bytes, at_ms: Option<u64>, when: ExpireWhen) -> Reply {
        let Some(old) = self.live(&key) else { return Reply::Touched { changed: false } };
        let (present, wanted) = (old.expires_at_ms, at_ms.map(|at| at.max(1)));
        let never = u64::MAX;
        let wanted_at = wanted.unwrap_or(never);
        let due = match when {
            ExpireWhen::Always => true,
            ExpireWhen::HasNone => present.is_none(),
            ExpireWhen::HasOne => present.is_some(),
            ExpireWhen::Later => wanted_at > present.unwrap_or(never),
            ExpireWhen::Earlier => wanted_at < present.unwrap_or(never),
            ExpireWhen::HasOneAndEarlier => present.is_some_and(|present| wanted_at < present),
        };
        // Removing an expiry that is not there changes nothing; setting the same one again does count.
        if !due || (wanted.is_none() && present.is_none()) {
            return Reply::Touched { changed: false };
        }
        self.write(key, Some(&old), old.value.clone(), wanted);
        Reply::Touched { changed: true }
    }

    fn check(&mut self, key: &Bytes, condition: &Condition) -> Reply {
        let current = self.live(key);
        if holds(condition, current.as_ref()) {
            Reply::Touched { changed: false }
        } else {
            Reply::ConditionFailed { current }
        }
    }

    fn clear(&mut self) -> Reply {
        let changed = self.meta.rows > 0;
        if changed {
            self.meta.generation += 1;
            self.meta.rows = 0;
            self.meta.bytes = 0;
            self.meta.digest = 0;
            split::cleared(&mut self.meta.cut);
            self.next_revision();
            if let Space::Shard { order, shard, .. } = self.space {
                self.space = Space::Shard { order, shard, generation: self.meta.generation };
            }
            // The first note in the new space; those in the old one go with the rows that they are of.
            notes::note(self.meta, self.space, &Bytes::new(), self.work);
        }
        Reply::Touched { changed }
    }

    fn sweep(&mut self, limit: u32) -> Reply {
        let limit = limit as usize;
        let due =
            self.work.scan(self.space, &keys::expiry_range(0, self.meta.time_ms), limit.saturating_add(1));
        let more = due.len() > limit;
        let mut removed = 0;
        for (index_key, _) in due.into_iter().take(limit) {
            let Some((at_ms, key)) = keys::expiry_parts(&index_key) else { continue };
            let row = self.work.get(self.space, &keys::data(&key));
            match row.as_ref().and_then(keys::decode_record) {
                Some(record) if self.meta.cut.is_left_over(&key) => {
                    split::drop_row(self, &key, &record);
                    removed += 1;
                }
                Some(record) if record.expires_at_ms == Some(at_ms) => {
                    self.remove(&key, &record);
                    removed += 1;
                }
                Some(_) | None => self.work.delete(self.space, index_key),
            }
        }
        Reply::Swept { removed, more }
    }
}

/// Whether a condition holds of a live record.
pub(super) fn holds(condition: &Condition, record: Option<&Record>) -> bool {
    match condition {
        Condition::Always => true,
        Condition::Absent => record.is_none(),
        Condition::Present => record.is_some(),
        Condition::Revision(revision) => record.map_or(0, |record| record.revision) == *revision,
        Condition::Value(value) => record.is_some_and(|record| record.value == *value),
        Condition::NotValue(value) => record.is_none_or(|record| record.value != *value),
    }
}

pub(super) fn info(record: &Record) -> RecordInfo {
    RecordInfo {
        length: record.value.len() as u64,
        revision: record.revision,
        expires_at_ms: record.expires_at_ms,
    }
}

pub(super) fn malformed(why: &str) -> Reply {
    Reply::Refused(Refusal::Malformed(why.to_owned()))
}

pub(super) fn too_large(limit: usize) -> Reply {
    Reply::Refused(Refusal::TooLarge { limit: limit as u64 })
}
