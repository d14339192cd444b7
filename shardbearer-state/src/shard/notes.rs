//! Which rows of a leaving shard changed: a note per change, in the order of the changes, in the shard's own space. A
//! note holds the row's key alone; what the row holds is read when the destination asks, so a row that
//! changes often is carried as it is in the end. Notes are dropped once the destination has what they say.

use bytes::Bytes;
use shardbearer_core::kv::Standing;
use shardbearer_core::machine::Workspace;
use shardbearer_core::storage::Space;

use crate::keys::{self, ShardMeta};

/// Notes that a shard keeps. A destination that is further behind is not going to catch up: its copy has to be
/// called off, before the notes fill the disk.
pub(super) const NOTES_MAX: u64 = 1 << 20;

/// Notes dropped by one entry: applied in about a millisecond.
const DROPPED_AT_ONCE: usize = 2_048;

/// Notes that a row changed, if anybody wants to know. Sessions are written at the end of an entry, also of the one that
/// freezes the shard.
pub(super) fn note(meta: &mut ShardMeta, space: Space, row: &Bytes, work: &mut Workspace<'_>) {
    if !matches!(meta.standing, Standing::Leaving | Standing::Frozen) || meta.lost {
        return;
    }
    if meta.noted.saturating_sub(meta.forgotten) >= NOTES_MAX {
        meta.lost = true;
        return;
    }
    meta.noted += 1;
    work.put(space, keys::note(meta.migration, meta.noted), row.clone());
}

/// Drops notes up to one, those of earlier migrations included. Returns whether there are more.
pub(super) fn forget(meta: &mut ShardMeta, space: Space, through: u64, work: &mut Workspace<'_>) -> bool {
    let range = keys::notes_through(meta.migration, through);
    let rows = work.scan(space, &range, DROPPED_AT_ONCE + 1);
    let more = rows.len() > DROPPED_AT_ONCE;
    for (key, _) in rows.into_iter().take(DROPPED_AT_ONCE) {
        work.delete(space, key);
    }
    if !more {
        meta.forgotten = meta.forgotten.max(through.min(meta.noted));
    }
    more
}
