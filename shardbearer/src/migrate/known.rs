//! The last migration as this radiant knows it: from the local seat of the control order, or by pulse.

use std::time::Duration;

use parking_lot::RwLock;
use shardbearer_core::migration::{Migration, Phase};
use tokio::sync::Notify;

use super::Detour;

/// The record, and who waits for news of it.
#[derive(Default)]
pub struct Known {
    last: RwLock<Option<Migration>>,
    /// Wakes in the order of waiting, so that runs can be repeated.
    news: Notify,
}

impl Known {
    /// The last migration, under way or over.
    pub fn last(&self) -> Option<Migration> {
        self.last.read().clone()
    }

    /// Takes a record in if it is newer than what is known. Returns whether it was.
    pub fn learn(&self, record: Migration) -> bool {
        let mut last = self.last.write();
        let newer = last.as_ref().is_none_or(|known| record.is_newer_than(known));
        if newer {
            *last = Some(record);
            drop(last);
            self.news.notify_waiters();
        }
        newer
    }

    /// Waits until anything changes, at most so long.
    pub async fn changed(&self, at_most: Duration) {
        // A timeout is as good as news: the caller looks again either way.
        let _ = tokio::time::timeout(at_most, self.news.notified()).await;
    }

    /// The shard that may be elsewhere than the configuration says, if there is one.
    pub fn detour(&self) -> Option<Detour> {
        let last = self.last.read();
        let record = last.as_ref()?;
        let possible = match record.phase {
            Phase::Frozen | Phase::Serving | Phase::Collected => true,
            Phase::Planned | Phase::Copying | Phase::Returning | Phase::Returned => false,
        };
        possible.then_some(Detour {
            shard: record.shard,
            split: record.split,
            until: record.until,
            from: record.from,
            to: record.to,
            since: record.ended,
            collected: record.phase == Phase::Collected,
        })
    }
}
