//! What becomes of the rows of a shard that is split: they are weighed while they cross, and dropped when they have. Both are
//! done in pieces, each of them a step in the log.
//!
//! What a shard comes to is a sum that every write keeps up to date, so the comparison at the end of a move costs nothing.
//! Of a part of a shard there is no such sum. It is made while rows are copied: a cursor goes through the rows in
//! the order of their keys, and what changes behind it changes the sum.

use bytes::Bytes;
use shardbearer_core::kv::Record;
use shardbearer_core::machine::Workspace;
use shardbearer_core::storage::{KeyRange, Space};

use super::apply::Scope;
use super::{digest, notes};
use crate::keys::{self, Cut, ShardMeta, Stage};

/// Rows looked at by one step: applied in a few milliseconds. One in tests, so that writes come between any two.
const ROWS_AT_ONCE: usize = if cfg!(test) { 1 } else { 1_024 };

/// Bytes of rows looked at by one step, but for the last few of them.
const BYTES_AT_ONCE: usize = 1 << 20;

/// Rows that are read before their bytes are counted: each may have as many as a value may.
const ROWS_READ: usize = if cfg!(test) { 1 } else { 16 };

/// One row more has crossed.
pub(super) fn put_on(cut: &mut Cut, bytes: u64, digest: u64) {
    (cut.rows, cut.bytes) = (cut.rows + 1, cut.bytes + bytes);
    cut.digest = cut.digest.wrapping_add(digest);
}

/// One row less is to cross.
pub(super) fn take_off(cut: &mut Cut, bytes: u64, digest: u64) {
    (cut.rows, cut.bytes) = (cut.rows.saturating_sub(1), cut.bytes.saturating_sub(bytes));
    cut.digest = cut.digest.wrapping_sub(digest);
}

/// All rows are gone.
pub(super) fn cleared(cut: &mut Cut) {
    (cut.rows, cut.bytes, cut.digest) = (0, 0, 0);
}

/// Rows that are served from this slot on are to be another shard's: they are weighed from now on.
pub(super) fn begin(cut: &mut Cut, at: u16) {
    *cut = Cut { at, stage: Stage::Weighing, ..cut.settled() };
}

/// They are not, after all.
pub(super) fn call_off(cut: &mut Cut) {
    if !matches!(cut.stage, Stage::Pruning { .. }) {
        *cut = cut.settled();
    }
}

/// Weighs some more rows. Returns whether there are more.
pub(super) fn weigh(meta: &mut ShardMeta, space: Space, work: &mut Workspace<'_>) -> bool {
    if meta.cut.stage != Stage::Weighing {
        return false;
    }
    let (rows, more) = next_rows(&meta.cut.cursor, space, work);
    for (row, key, record) in rows {
        if meta.cut.crosses(&key) {
            let bytes = (key.len() + record.value.len()) as u64;
            put_on(&mut meta.cut, bytes, digest::of_record(&key, &record));
        }
        meta.cut.cursor = row;
    }
    if !more {
        (meta.cut.stage, meta.cut.cursor) = (Stage::Weighed, Bytes::new());
    }
    more
}

/// The shard ends before this slot from now on; what is behind is yet to be dropped.
pub(super) fn end(meta: &mut ShardMeta, until: u16) {
    let cut = &meta.cut;
    // An order that lost the end of its log has not weighed what it has given away.
    let counted = cut.at == until && cut.stage == Stage::Weighed;
    if counted {
        meta.rows = meta.rows.saturating_sub(cut.rows);
        meta.bytes = meta.bytes.saturating_sub(cut.bytes);
        meta.digest = meta.digest.wrapping_sub(cut.digest);
    }
    let until = if cut.until == 0 { until } else { cut.until.min(until) };
    meta.cut = Cut { until, stage: Stage::Pruning { counted }, ..cut.settled() };
}

/// Drops some of what is behind the shard's end, and notes that nobody wants any more. Returns whether there is more.
pub(super) fn prune(meta: &mut ShardMeta, space: Space, work: &mut Workspace<'_>) -> bool {
    if !matches!(meta.cut.stage, Stage::Pruning { .. }) {
        return false;
    }
    if notes::forget(meta, space, u64::MAX - 1, work) {
        return true;
    }
    let (rows, more) = next_rows(&meta.cut.cursor, space, work);
    let mut scope = Scope { space, meta, work };
    for (row, key, record) in rows {
        if scope.meta.cut.is_left_over(&key) {
            drop_row(&mut scope, &key, &record);
        }
        scope.meta.cut.cursor = row;
    }
    if !more {
        meta.cut = meta.cut.settled();
    }
    more
}

/// Drops a row behind the shard's end.
pub(super) fn drop_row(scope: &mut Scope<'_, '_>, key: &Bytes, record: &Record) {
    if scope.meta.cut.stage == (Stage::Pruning { counted: false }) {
        return scope.replace(key, Some(record), None);
    }
    if let Some(at_ms) = record.expires_at_ms {
        scope.work.delete(scope.space, keys::expiry(at_ms, key));
    }
    scope.work.delete(scope.space, keys::data(key));
}

/// The next records behind a row key, with their row keys and users' keys, and whether there may be more.
fn next_rows(after: &Bytes, space: Space, work: &mut Workspace<'_>) -> (Vec<(Bytes, Bytes, Record)>, bool) {
    let [KeyRange { mut start, end }, _] = keys::carried_after(after);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while rows.len() < ROWS_AT_ONCE && bytes < BYTES_AT_ONCE {
        let read = work.scan(space, &KeyRange { start: start.clone(), end: end.clone() }, ROWS_READ);
        let last = read.len() < ROWS_READ;
        for (row, value) in read {
            bytes += row.len() + value.len();
            start = [&row[..], &[0]].concat();
            // A row that makes no sense is no record, and stays where it is.
            if let Some(record) = keys::decode_record(&value) {
                rows.push((row.clone(), keys::user_key(&row), record));
            }
        }
        if last {
            return (rows, false);
        }
    }
    (rows, true)
}
