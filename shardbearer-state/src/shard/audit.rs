//! Whether what is stored of a shard is what was written to it: all of its rows are read and held against the sums that every
//! write keeps up to date. It takes one replica and no other, and finds what was altered on a disk although nobody reads it.

use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::kv::Standing;
use shardbearer_core::storage::{StorageError, View};

use super::{digest, shard_meta, space};
use crate::keys::{self, ShardMeta, Stage};

/// What rows come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sums {
    /// How many there are.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Sum of their hashes, see `shard/digest.rs`.
    pub digest: u64,
}

/// What an audit came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audited {
    /// What was written is stored.
    Sound,
    /// It was not seen to the end, or there is no such shard.
    Unknown,
    /// What was written and what is stored differ.
    Altered {
        /// What the sums say.
        written: Sums,
        /// What the rows come to.
        stored: Sums,
    },
}

/// Rows read between two looks whether to go on.
const ROWS_AT_ONCE: u64 = 256;

/// Reads every row of the shard as long as `goes_on` says so.
///
/// # Errors
/// [`StorageError::Corrupt`] where a row makes no sense; others as the storage has them.
pub fn audit(
    view: &dyn View,
    order: OrderId,
    shard: ShardId,
    goes_on: &dyn Fn() -> bool,
) -> Result<Audited, StorageError> {
    // Of a shard that has left, the rows are dropped in their own time.
    let is_there = |meta: &ShardMeta| !matches!(meta.standing, Standing::Gone | Standing::Absent);
    let Some(meta) = shard_meta(view, order, shard)?.filter(is_there) else {
        return Ok(Audited::Unknown);
    };
    let written = Sums { rows: meta.rows, bytes: meta.bytes, digest: meta.digest };
    // What another shard has got, and is yet to be dropped here, may have left the sums already.
    let counted = meta.cut.stage == Stage::Pruning { counted: true };
    let mut stored = Sums::default();
    let mut read = 0;
    for row in view.scan(space(order, shard, &meta), &keys::data_range(&[], &[])) {
        let (row, value) = row?;
        read += 1;
        if read % ROWS_AT_ONCE == 0 && !goes_on() {
            return Ok(Audited::Unknown);
        }
        let key = keys::user_key(&row);
        let Some(record) = keys::decode_record(&value) else {
            return Err(StorageError::Corrupt(format!("order {order}, shard {shard}: a row makes no sense")));
        };
        if counted && meta.cut.is_left_over(&key) {
            continue;
        }
        stored.rows += 1;
        stored.bytes += (key.len() + record.value.len()) as u64;
        stored.digest = stored.digest.wrapping_add(digest::of_record(&key, &record));
    }
    Ok(if stored == written { Audited::Sound } else { Audited::Altered { written, stored } })
}
