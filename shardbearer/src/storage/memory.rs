//! Applied state in memory, for tests and for clusters that may forget.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use shardbearer_core::storage::{
    Batch, Durability, KeyRange, Rows, Space, StorageEngine, StorageError, View,
};

type Spaces = BTreeMap<Space, Arc<BTreeMap<Bytes, Bytes>>>;

/// Spaces that are copied when they change while somebody looks at them.
#[derive(Default)]
pub struct Memory {
    spaces: RwLock<Spaces>,
}

impl StorageEngine for Memory {
    fn view(&self) -> Box<dyn View> {
        Box::new(Picture { spaces: self.spaces.read().clone() })
    }

    fn commit(&self, batch: Batch, _: Durability) -> Result<(), StorageError> {
        let mut spaces = self.spaces.write();
        for (space, key, value) in batch.into_rows() {
            let rows = Arc::make_mut(spaces.entry(space).or_default());
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }

    fn drop_space(&self, space: Space) -> Result<(), StorageError> {
        self.spaces.write().remove(&space);
        Ok(())
    }

    fn spaces(&self) -> Result<Vec<Space>, StorageError> {
        Ok(self.spaces.read().keys().copied().collect())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

struct Picture {
    spaces: Spaces,
}

impl View for Picture {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.spaces.get(&space).and_then(|rows| rows.get(key)).cloned())
    }

    fn scan(&self, space: Space, range: &KeyRange) -> Rows<'_> {
        let Some(rows) = self.spaces.get(&space) else { return Box::new(std::iter::empty()) };
        let end = range.end.clone();
        let rows = rows
            .range(Bytes::copy_from_slice(&range.start)..)
            .take_while(move |(key, _)| end.as_ref().is_none_or(|end| key.as_ref() < end.as_slice()))
            .map(|(key, value)| Ok((key.clone(), value.clone())));
        Box::new(rows)
    }
}
