//! Committed rows in memory: what two replicas are compared by.

use std::collections::BTreeMap;

use bytes::Bytes;
use shardbearer_core::storage::{Batch, KeyRange, Rows, Space, StorageError, View};

/// Spaces and their rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored(pub BTreeMap<Space, BTreeMap<Bytes, Bytes>>);

impl Stored {
    /// Makes the changes.
    pub(crate) fn commit(&mut self, batch: Batch) {
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
        let rows = rows
            .skip_while(move |(key, _)| key.as_ref() < start.as_slice())
            .take_while(move |(key, _)| end.as_ref().is_none_or(|end| key.as_ref() < end.as_slice()));
        Box::new(rows.map(|(key, value)| Ok((key.clone(), value.clone()))))
    }
}
