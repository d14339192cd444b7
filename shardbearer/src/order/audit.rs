//! Whether what is stored here of a shard is what was written to it, see [`shardbearer_state::shard::audit`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shardbearer_core::ids::ShardId;
use shardbearer_core::storage::StorageError;
use shardbearer_state::shard::{Audited, audit};

use super::Order;

/// Ends what is being read once nobody waits for it: at the radiant's end no thread is to go on for minutes.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Order {
    /// Reads all rows of a shard that are stored here, beside what goes on. [`Audited::Unknown`] also if an image is installed
    /// meanwhile, the seat is given up, the disk runs full, or views hold the storage's commits up.
    ///
    /// # Errors
    /// Where rows cannot be read, or make no sense.
    pub async fn audit(&self, shard: ShardId) -> Result<Audited, StorageError> {
        if self.applier.storage().views_hold_commits_up() {
            return Ok(Audited::Unknown);
        }
        let stop = Stop(Arc::default());
        let (applier, id, stopped) = (self.applier.clone(), self.id, stop.0.clone());
        let (before, disk_full) = (applier.installs(), self.disk_full.clone());
        let look = move || {
            let goes_on = || {
                let left = stopped.load(Ordering::Relaxed) || disk_full.load(Ordering::Relaxed);
                !left && applier.installs() == before
            };
            applier.look(|view| audit(view, id, shard, &goes_on))
        };
        let found = self.world.block(look).await;
        let found = found.unwrap_or_else(|| Err(StorageError::Io("reading the rows panicked".into())))?;
        Ok(found.unwrap_or(Audited::Unknown))
    }

    /// Changes whenever all rows here are replaced, and when the seat is given up.
    pub fn installs(&self) -> u64 {
        self.applier.installs()
    }
}
