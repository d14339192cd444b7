//! What is stored on a disk, as the radiant on it would see it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use shardbearer_core::ids::OrderId;
use shardbearer_core::storage::{KeyRange, Rows, Space, StorageError, View};
use shardbearer_sim::disk::Disk;
use shardbearer_sim::disk::storage;

/// The rows of an order on a disk.
pub struct Stored(BTreeMap<Space, Arc<storage::Rows>>);

impl Stored {
    /// All of them, synced or not; `None` while they are being replaced by an image.
    pub fn on(disk: &Disk, order: OrderId) -> Option<Stored> {
        let stored = Stored(disk.rows_of(order));
        let own = stored.0.get(&Space::Order(order))?;
        // See `order/install.rs`.
        (!own.contains_key(b"\xffinstalling".as_slice())).then_some(stored)
    }
}

impl View for Stored {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.0.get(&space).and_then(|rows| rows.get(key)).cloned())
    }

    fn scan(&self, space: Space, range: &KeyRange) -> Rows<'_> {
        let Some(rows) = self.0.get(&space) else { return Box::new(std::iter::empty()) };
        let end = range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = rows.range::<[u8], _>((Bound::Included(range.start.as_slice()), end));
        Box::new(rows.map(|(key, value)| Ok((key.clone(), value.clone()))))
    }
}
