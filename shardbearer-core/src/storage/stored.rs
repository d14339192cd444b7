//! The smallest storage: what the others are compared by.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::{Batch, KeyRange, Rows, Space, StorageError, View};

/// Committed rows in memory, for tests, kits and fuzzers. Two that hold the same are equal: a space without rows is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stored(pub BTreeMap<Space, BTreeMap<Bytes, Bytes>>);

impl Stored {
    /// Makes the changes of a batch.
    pub fn commit(&mut self, batch: Batch) {
        for (space, key, value) in batch.into_rows() {
            let rows = self.0.entry(space).or_default();
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        self.0.retain(|_, rows| !rows.is_empty());
    }
}

impl View for Stored {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        Ok(self.0.get(&space).and_then(|rows| rows.get(key)).cloned())
    }

    fn scan(&self, space: Space, range: &KeyRange) -> Rows<'_> {
        let end = match &range.end {
            // An end before the start is an empty range, not a panic.
            Some(end) => Bound::Excluded(end.as_slice().max(&range.start)),
            None => Bound::Unbounded,
        };
        let bounds = (Bound::Included(range.start.as_slice()), end);
        let rows = self.0.get(&space).map(|rows| rows.range::<[u8], _>(bounds));
        Box::new(rows.into_iter().flatten().map(|(key, value)| Ok((key.clone(), value.clone()))))
    }
}
