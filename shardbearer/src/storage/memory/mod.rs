//! Applied state in memory, with an image on disk of what was synced.
//!
//! Rows live in persistent trees (a change makes a new version that shares all but a path with the old one), so that a view
//! is a pointer and nobody waits for a reader. A synced commit writes the spaces that changed since the last one
//! ([`image`]); what came after it is lost with the process, and is replayed from the log.

mod image;

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rpds::RedBlackTreeMapSync;
use shardbearer_core::storage::{
    Batch, Durability, KeyRange, Rows, Space, StorageEngine, StorageError, View,
};

use self::image::Images;

type Tree = RedBlackTreeMapSync<Bytes, Bytes>;
type Spaces = RedBlackTreeMapSync<Space, Tree>;

/// The engine.
pub struct Memory {
    live: RwLock<Live>,
    /// Locked before `live`, so that images are written in the order in which they were taken.
    images: Mutex<Images>,
}

#[derive(Default)]
struct Live {
    spaces: Spaces,
    /// Changed since they were last written.
    changed: BTreeSet<Space>,
}

impl Memory {
    /// Loads what was synced into `dir` last, which is created if need be.
    pub fn open(dir: &Path) -> Result<Memory, StorageError> {
        let (images, spaces) = Images::open(dir)?;
        let live = Live { spaces, changed: BTreeSet::new() };
        Ok(Memory { live: RwLock::new(live), images: Mutex::new(images) })
    }

    fn apply(&self, batch: Batch) {
        let mut live = self.live.write();
        for (space, key, value) in batch.into_rows() {
            if live.spaces.get(&space).is_none() {
                live.spaces.insert_mut(space, Tree::new_sync());
            }
            let rows = live.spaces.get_mut(&space).expect("made above");
            match value {
                Some(value) => rows.insert_mut(key, value),
                None => drop(rows.remove_mut(&key)),
            }
            live.changed.insert(space);
        }
    }

    fn sync(&self) -> Result<(), StorageError> {
        let mut images = self.images.lock();
        let (spaces, changed) = {
            let mut live = self.live.write();
            (live.spaces.clone(), std::mem::take(&mut live.changed))
        };
        let written = images.write(&spaces, &changed);
        if written.is_err() {
            // Still not on disk: whoever syncs next must not be told that all is. None was dropped meanwhile, that takes `images`.
            self.live.write().changed.extend(changed);
        }
        written
    }
}

impl StorageEngine for Memory {
    fn view(&self) -> Box<dyn View> {
        Box::new(Picture { spaces: self.live.read().spaces.clone() })
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), StorageError> {
        self.apply(batch);
        match durability {
            Durability::Buffered => Ok(()),
            Durability::Synced => self.sync(),
        }
    }

    fn drop_space(&self, space: Space) -> Result<(), StorageError> {
        let mut images = self.images.lock();
        {
            let mut live = self.live.write();
            live.spaces.remove_mut(&space);
            live.changed.remove(&space);
        }
        images.forget(space)
    }

    fn spaces(&self) -> Result<Vec<Space>, StorageError> {
        Ok(self.live.read().spaces.keys().copied().collect())
    }

    fn disk_bytes(&self) -> u64 {
        self.images.lock().bytes()
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
