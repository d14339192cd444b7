//! What tests of several machines share: committed rows in memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use shardbearer_core::storage::{Batch, KeyRange, Rows, Space, StorageError, View};

/// Committed rows; also what two replicas are compared by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored(pub BTreeMap<Space, BTreeMap<Bytes, Bytes>>);

impl Stored {
    pub fn commit(&mut self, batch: Batch) {
        for (space, key, value) in batch.into_rows() {
            let rows = self.0.entry(space).or_default();
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
    }
}

impl View for Stored {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.0.get(&space).and_then(|rows| rows.get(key)).cloned())
    }

    fn scan(&self, space: Space, range: &KeyRange) -> Rows<'_> {
        let rows = self.0.get(&space).into_iter().flatten();
        let (start, end) = (range.start.clone(), range.end.clone());
        let within =
            move |key: &Bytes| *key >= start && end.as_ref().is_none_or(|end| key.as_ref() < end.as_slice());
        Box::new(
            rows.filter(move |(key, _)| within(key)).map(|(key, value)| Ok((key.clone(), value.clone()))),
        )
    }
}
