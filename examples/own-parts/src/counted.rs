//! A storage and a log before any other one: what comes by is counted. The laws hold of the two together, so what stands before
//! must hand on everything, also what has a default.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{Bounds, LogDone, LogError, LogRecord, LogStore, LogWrite};
use shardbearer_core::storage::{Batch, Durability, Space, StorageEngine, StorageError, View};

/// Counts what changes what is behind it.
pub struct Counted<T: ?Sized> {
    behind: Arc<T>,
    changes: AtomicU64,
}

impl<T: ?Sized> Counted<T> {
    /// Stands before another one.
    pub fn before(behind: Arc<T>) -> Counted<T> {
        Counted { behind, changes: AtomicU64::new(0) }
    }

    /// Batches that were asked for.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }
}

impl StorageEngine for Counted<dyn StorageEngine> {
    fn view(&self) -> Box<dyn View> {
        self.behind.view()
    }

    fn views_hold_commits_up(&self) -> bool {
        self.behind.views_hold_commits_up()
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), StorageError> {
        self.count();
        self.behind.commit(batch, durability)
    }

    fn is_full(&self) -> bool {
        self.behind.is_full()
    }

    fn make_room(&self) {
        self.behind.make_room();
    }

    fn drop_space(&self, space: Space) -> Result<(), StorageError> {
        self.behind.drop_space(space)
    }

    fn spaces(&self) -> Result<Vec<Space>, StorageError> {
        self.behind.spaces()
    }

    fn disk_bytes(&self) -> u64 {
        self.behind.disk_bytes()
    }
}

impl LogStore for Counted<dyn LogStore> {
    fn write(&self, order: OrderId, writes: Vec<LogWrite>, done: LogDone) -> Result<(), LogError> {
        self.count();
        self.behind.write(order, writes, done)
    }

    fn entries(
        &self,
        order: OrderId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        self.behind.entries(order, range, bytes_max)
    }

    fn bounds(&self, order: OrderId) -> Bounds {
        self.behind.bounds(order)
    }

    fn orders(&self) -> Vec<OrderId> {
        self.behind.orders()
    }

    fn remove(&self, order: OrderId) -> Result<(), LogError> {
        self.behind.remove(order)
    }

    fn disk_bytes(&self) -> u64 {
        self.behind.disk_bytes()
    }

    fn held_bytes(&self, order: OrderId) -> u64 {
        self.behind.held_bytes(order)
    }
}
