//! sled 0.34, selectable by name. All spaces share one tree, their name before each key, because
//! sled's batches are atomic only within a tree.
//!
//! Its trade-offs: a dropped shard's rows are deleted one by one and the file does not shrink; three times the CPU
//! of the default; its last release is of 2021, and corruption after abrupt stops was reported. It flushes with
//! `sync_file_range` and does not sync large values' files, so that a power cut may take what it said is durable; nor is
//! what a start reads settled, as `settle` does for the default. sled has no
//! snapshots: a view here keeps commits waiting until it is dropped, so scans of other tasks delay writes.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::lock_api::ArcRwLockReadGuard;
use parking_lot::{RawRwLock, RwLock};
use shardbearer_core::storage::{
    Batch, Durability, KeyRange, Rows, Space, StorageEngine, StorageError, View,
};

use super::names;

/// sled behind the storage seam.
pub struct Sled {
    database: sled::Db,
    /// Views read under it, commits write under it: that is what makes a view consistent.
    gate: Arc<RwLock<()>>,
}

impl Sled {
    /// Opens or creates the database in `dir`.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StorageError> {
        let opened = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .flush_every_ms(None) // the radiant says when
            .open();
        let database = opened.map_err(|error| match error {
            sled::Error::Corruption { .. } => StorageError::Corrupt(format!("{}: {error}", dir.display())),
            other => StorageError::Io(format!("cannot open {}: {other}", dir.display())),
        })?;
        Ok(Sled { database, gate: Arc::default() })
    }
}

fn failed(error: sled::Error) -> StorageError {
    match error {
        sled::Error::Corruption { .. } => StorageError::Corrupt(error.to_string()),
        other => StorageError::Io(other.to_string()),
    }
}

/// Name, `/`, key. No name is a prefix of another with its slash.
fn prefixed(space: Space, key: &[u8]) -> Vec<u8> {
    let mut out = names::name(space).into_bytes();
    out.push(b'/');
    out.extend_from_slice(key);
    out
}

impl StorageEngine for Sled {
    fn view(&self) -> Box<dyn View> {
        Box::new(Picture { database: self.database.clone(), _gate: self.gate.read_arc_recursive() })
    }

    fn views_hold_commits_up(&self) -> bool {
        true
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), StorageError> {
        let mut writes = sled::Batch::default();
        for (space, key, value) in batch.into_rows() {
            match value {
                Some(value) => writes.insert(prefixed(space, &key), value.as_ref()),
                None => writes.remove(prefixed(space, &key)),
            }
        }
        {
            let _gate = self.gate.write();
            self.database.apply_batch(writes).map_err(failed)?;
        }
        match durability {
            Durability::Buffered => Ok(()),
            Durability::Synced => self.database.flush().map(drop).map_err(failed),
        }
    }

    fn drop_space(&self, space: Space) -> Result<(), StorageError> {
        const ROWS_AT_ONCE: usize = 1_024;
        loop {
            let mut writes = sled::Batch::default();
            let mut rows = 0;
            for row in self.database.scan_prefix(prefixed(space, b"")).keys().take(ROWS_AT_ONCE) {
                writes.remove(row.map_err(failed)?);
                rows += 1;
            }
            if rows == 0 {
                return self.database.flush().map(drop).map_err(failed);
            }
            let _gate = self.gate.write();
            self.database.apply_batch(writes).map_err(failed)?;
        }
    }

    fn spaces(&self) -> Result<Vec<Space>, StorageError> {
        let mut spaces = Vec::new();
        let mut next: Vec<u8> = b"o".to_vec();
        while let Some(row) = self.database.range(next.clone()..).keys().next() {
            let row = row.map_err(failed)?;
            let name = row.split(|byte| *byte == b'/').next().and_then(|name| std::str::from_utf8(name).ok());
            let Some(space) = name.and_then(names::parse) else {
                return Err(StorageError::Corrupt("sled: a row belongs to no space".into()));
            };
            spaces.push(space);
            next = prefixed(space, b"");
            next.pop();
            next.push(b'/' + 1); // just behind all keys of that space
        }
        spaces.sort_unstable();
        Ok(spaces)
    }

    fn disk_bytes(&self) -> u64 {
        self.database.size_on_disk().unwrap_or(0)
    }
}

struct Picture {
    database: sled::Db,
    _gate: ArcRwLockReadGuard<RawRwLock, ()>,
}

impl View for Picture {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let value = self.database.get(prefixed(space, key)).map_err(failed)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, space: Space, range: &KeyRange) -> Rows<'_> {
        let skip = prefixed(space, b"").len();
        let end = match &range.end {
            Some(end) if *end <= range.start => return Box::new(std::iter::empty()),
            Some(end) => prefixed(space, end),
            None => {
                let mut behind = prefixed(space, b"");
                behind.pop();
                behind.push(b'/' + 1);
                behind
            }
        };
        let bounds = (Bound::Included(prefixed(space, &range.start)), Bound::Excluded(end));
        let rows = self.database.range::<Vec<u8>, _>(bounds).map(move |row| {
            let (key, value) = row.map_err(failed)?;
            Ok((Bytes::copy_from_slice(&key[skip..]), Bytes::copy_from_slice(&value)))
        });
        Box::new(rows)
    }
}
