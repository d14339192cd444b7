//! Rows that were written below lately, so that who changes a row again need not search the engine for it.
//!
//! Each replica looks at a row before it changes it, and an LSM tree searches several places for that. Rows come in only
//! when they are written below, **before** anybody sees the new view of below, and each says with which layer it came.
//! So a view that is older than the row passes it by and asks below; one that is not may trust it, since every later
//! change would have replaced it. Nothing that readers find enters: it could be old by then.

use std::hash::{Hash, Hasher};

use bytes::Bytes;
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};
use shardbearer_core::storage::Space;

use super::layer::Layer;

/// Values beyond this many bytes are not kept: finding them costs little beside reading them.
const VALUE_MAX: usize = 16 << 10;

/// Bytes that a kept row costs beside its key and value.
const ROW_BYTES: usize = 128;

/// What the memory is divided by to guess how many rows there will be; more or fewer do no harm.
const ROW_GUESS: u64 = 512;

pub(super) struct Recent(Cache<Row, Kept, Weight>);

#[derive(PartialEq, Eq)]
struct Row {
    space: Space,
    key: Bytes,
}

/// The same by reference. Its hash has to be that of [`Row`].
struct Named<'a> {
    space: Space,
    key: &'a [u8],
}

#[derive(Clone)]
struct Kept {
    value: Bytes,
    /// The layer that it came with.
    since: u64,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Row, Kept> for Weight {
    fn weight(&self, row: &Row, kept: &Kept) -> u64 {
        (ROW_BYTES + row.key.len() + kept.value.len()) as u64
    }
}

impl Hash for Row {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Named { space: self.space, key: &self.key }.hash(state);
    }
}

impl Hash for Named<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.space.hash(state);
        self.key.hash(state);
    }
}

impl Equivalent<Row> for Named<'_> {
    fn equivalent(&self, row: &Row) -> bool {
        self.key == row.key && self.space == row.space
    }
}

impl Recent {
    /// Keeps about so many bytes of rows.
    pub(super) fn new(bytes: u64) -> Recent {
        let rows = usize::try_from(bytes / ROW_GUESS).unwrap_or(usize::MAX);
        Recent(Cache::with_weighter(rows, bytes, Weight))
    }

    /// The value of a row for a view that has the layers up to `seen`; `None`: ask below.
    pub(super) fn get(&self, space: Space, key: &[u8], seen: u64) -> Option<Bytes> {
        let kept = self.0.get(&Named { space, key })?;
        (kept.since <= seen).then_some(kept.value)
    }

    /// Takes in what is below from layer `number` on.
    pub(super) fn take(&self, layer: &Layer, number: u64) {
        for (space, key, value) in layer.rows() {
            match value {
                Some(value) if value.len() <= VALUE_MAX => {
                    // Copied: the bytes may be a small part of a large entry, which would stay as long as they do.
                    let row = Row { space, key: Bytes::copy_from_slice(key) };
                    self.0.insert(row, Kept { value: Bytes::copy_from_slice(value), since: number });
                }
                _ => drop(self.0.remove(&Named { space, key })),
            }
        }
    }

    /// Forgets everything, for a space that is dropped may come again.
    pub(super) fn clear(&self) {
        self.0.clear();
    }
}
