//! When the log is cut. openraft takes snapshots by the number of entries; by bytes, and how much is purged, is decided here.
//!
//! openraft's own purge after a snapshot may take back one that was asked for and not done yet, which its debug builds do not
//! survive. So there is only this one, which never goes back.

use openraft::rt::WatchReceiver;

use super::Openraft;

/// Entries kept behind a snapshot that was taken because they are large.
const KEEP_LARGE: u64 = 64;

/// Entries purged at once, at least, unless fewer are a fair part of a compaction.
const PURGE_BATCH_MAX: u64 = 256;

/// How far compaction is.
#[derive(Default)]
pub(super) struct Compaction {
    /// What the last one by bytes left.
    kept_bytes: u64,
    /// Up to where large entries are to go, once a snapshot covers them.
    large: u64,
    /// Up to where purging was asked for.
    purge: u64,
}

impl Openraft {
    /// Has a snapshot taken by bytes, for orders of few but large entries; by entries openraft does it itself. Purges what
    /// snapshots cover, but for some entries that a member may still lack.
    pub(super) async fn compact(&self) {
        let limits = &self.context.limits;
        let held = self.context.log.held_bytes(self.context.order);
        let (snapshot, purged, applied) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (
                metrics.snapshot.as_ref().map_or(0, |id| id.index),
                metrics.purged.as_ref().map_or(0, |id| id.index),
                metrics.last_applied.as_ref().map_or(0, |id| id.index + 1),
            )
        };
        let (large, purge) = {
            let mut last = self.compaction.lock();
            // What the last compaction kept does not count, or it would be repeated for ever.
            let large = held > last.kept_bytes + limits.compact_after_bytes;
            if large {
                last.large = applied.saturating_sub(KEEP_LARGE);
            }
            if large || held < last.kept_bytes {
                last.kept_bytes = held;
            }
            let many = snapshot.saturating_sub(limits.keep_entries);
            let batch = (limits.compact_after_entries / 4).clamp(1, PURGE_BATCH_MAX);
            let many = if many >= purged + batch { many } else { 0 };
            let to = many.max(last.large.min(snapshot));
            let more = to > last.purge.max(purged);
            if more {
                last.purge = to;
            }
            (large, more.then_some(to))
        };
        // Whoever is closed has nothing to compact.
        if large {
            let _ = self.raft.trigger().snapshot().await;
        }
        if let Some(to) = purge {
            let _ = self.raft.trigger().purge_log(to).await;
        }
    }
}
