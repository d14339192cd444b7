//! The default engine: fjall, an LSM tree, with one keyspace per space, so that a shard that is
//! dropped gives its disk space back at once.
//!
//! Commits are not fsynced unless asked: the radiant's log replays what a loss of power takes, and
//! fjall's journal loses only a suffix. A failed fsync poisons fjall for good, which stops the radiant.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Snapshot};
use parking_lot::{Mutex, RwLock};
use shardbearer_core::storage::{
    Batch, Durability, KeyRange, Rows, Space, StorageEngine, StorageError, View,
};

use super::names;
use super::settle;
use super::writeback::Writeback;

/// Bytes of one keyspace's rows in memory before they are written out.
const MEMTABLE_BYTES: u64 = 16 << 20;

/// Bytes of journal on disk before keyspaces are written out so that it can go.
const JOURNAL_BYTES: u64 = 256 << 20;

/// fjall's folder with one for each keyspace.
const KEYSPACES: &str = "keyspaces";

/// fjall behind the storage seam.
pub struct Fjall {
    database: Database,
    dir: PathBuf,
    keyspaces: RwLock<Arc<BTreeMap<Space, Keyspace>>>,
    /// One at a time creates or drops keyspaces; readers are not kept waiting.
    changing: Mutex<()>,
    writeback: Writeback,
}

impl Fjall {
    /// Opens or creates the database in `dir`.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StorageError> {
        settle::settle(dir)
            .map_err(|error| StorageError::Io(format!("cannot make {} durable: {error}", dir.display())))?;
        let keyspaces = dir.join(KEYSPACES);
        if keyspaces.is_dir() {
            settle::keep_numbers(&keyspaces).map_err(|error| unwritable(&keyspaces, &error))?;
        }
        let database = Database::builder(dir)
            .cache_size(cache_bytes)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(2)
            .open()
            .map_err(|error| opening(dir, &error))?;
        let mut keyspaces = BTreeMap::new();
        for name in database.list_keyspace_names() {
            let Some(space) = names::parse(&name) else {
                return Err(StorageError::Corrupt(format!("{}: unknown keyspace {name:?}", dir.display())));
            };
            keyspaces.insert(space, database.keyspace(&name, options).map_err(|error| opening(dir, &error))?);
        }
        let writeback = Writeback::start(dir)
            .map_err(|error| StorageError::Io(format!("cannot start the data's writeback: {error}")))?;
        let (dir, keyspaces) = (dir.to_owned(), RwLock::new(Arc::new(keyspaces)));
        Ok(Fjall { database, dir, keyspaces, changing: Mutex::new(()), writeback })
    }

    fn keyspace(&self, space: Space) -> Result<Keyspace, StorageError> {
        if let Some(keyspace) = self.keyspaces.read().get(&space) {
            return Ok(keyspace.clone());
        }
        let _one = self.changing.lock();
        if let Some(keyspace) = self.keyspaces.read().get(&space) {
            return Ok(keyspace.clone());
        }
        let keyspace =
            self.database.keyspace(&names::name(space), options).map_err(|error| failed(&error))?;
        // fjall syncs what is in the new folder, but not the name of the folder itself. Without it a power cut takes the
        // keyspace, and opening passes over the journal's rows of a keyspace that is not there.
        File::open(self.dir.join(KEYSPACES))
            .and_then(|folder| folder.sync_all())
            .map_err(|error| unwritable(&self.dir, &error))?;
        Arc::make_mut(&mut *self.keyspaces.write()).insert(space, keyspace.clone());
        Ok(keyspace)
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> StorageError {
    StorageError::Io(format!("{}: {error}", path.display()))
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES)
}

fn opening(dir: &Path, error: &fjall::Error) -> StorageError {
    match error {
        fjall::Error::Io(error) => StorageError::Io(format!("cannot open {}: {error}", dir.display())),
        other => StorageError::Corrupt(format!(
            "{}: {other:?}; this radiant's data can be rebuilt from its orders: stop it, set the folder aside, replace the radiant",
            dir.display()
        )),
    }
}

fn failed(error: &fjall::Error) -> StorageError {
    match error {
        fjall::Error::Io(error) => StorageError::Io(error.to_string()),
        other => StorageError::Io(format!("fjall: {other:?}")),
    }
}

impl StorageEngine for Fjall {
    fn view(&self) -> Box<dyn View> {
        // The snapshot first: every keyspace with rows in it is known by then.
        let snapshot = self.database.snapshot();
        Box::new(Picture { keyspaces: self.keyspaces.read().clone(), snapshot })
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), StorageError> {
        let writes = OwnedWriteBatch::with_capacity(self.database.clone(), batch.len());
        let mut writes = writes.durability(Some(PersistMode::Buffer));
        let mut last: Option<(Space, Keyspace)> = None;
        let mut bytes = 0;
        for (space, key, value) in batch.into_rows() {
            bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
            let keyspace = match last.take() {
                Some((known, keyspace)) if known == space => keyspace,
                _ => self.keyspace(space)?,
            };
            match value {
                Some(value) => writes.insert(&keyspace, key, value),
                None => writes.remove(&keyspace, key),
            }
            last = Some((space, keyspace));
        }
        self.writeback.grew(bytes as u64)?;
        writes.commit().map_err(|error| failed(&error))?;
        match durability {
            Durability::Buffered => Ok(()),
            Durability::Synced => self.database.persist(PersistMode::SyncAll).map_err(|error| failed(&error)),
        }
    }

    fn drop_space(&self, space: Space) -> Result<(), StorageError> {
        let _one = self.changing.lock();
        let keyspace = Arc::make_mut(&mut *self.keyspaces.write()).remove(&space);
        let Some(keyspace) = keyspace else { return Ok(()) };
        let folder = self.dir.join(KEYSPACES);
        settle::keep_above(&folder, keyspace.id()).map_err(|error| unwritable(&folder, &error))?;
        self.database.delete_keyspace(keyspace).map_err(|error| failed(&error))
    }

    fn spaces(&self) -> Result<Vec<Space>, StorageError> {
        Ok(self.keyspaces.read().keys().copied().collect())
    }

    fn disk_bytes(&self) -> u64 {
        // Only for people to read: an error here says nothing about the data.
        self.database.disk_space().unwrap_or(0)
    }
}

struct Picture {
    keyspaces: Arc<BTreeMap<Space, Keyspace>>,
    snapshot: Snapshot,
}

impl View for Picture {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let Some(keyspace) = self.keyspaces.get(&space) else { return Ok(None) };
        let value = self.snapshot.get(keyspace, key).map_err(|error| failed(&error))?;
        Ok(value.map(Into::into))
    }

    fn scan(&self, space: Space, range: &KeyRange) -> Rows<'_> {
        let Some(keyspace) = self.keyspaces.get(&space) else { return Box::new(std::iter::empty()) };
        let end = match &range.end {
            // An end before the start is an empty range, not a panic.
            Some(end) if *end <= range.start => return Box::new(std::iter::empty()),
            Some(end) => Bound::Excluded(end.clone()),
            None => Bound::Unbounded,
        };
        let bounds = (Bound::Included(range.start.clone()), end);
        let rows = self.snapshot.range::<Vec<u8>, _>(keyspace, bounds).map(|row| {
            let (key, value) = row.into_inner().map_err(|error| failed(&error))?;
            Ok((key.into(), value.into()))
        });
        Box::new(rows)
    }
}

#[cfg(test)]
mod tests {
    use shardbearer_core::ids::OrderId;

    use super::*;

    fn put(engine: &Fjall, order: u64) {
        let mut batch = Batch::default();
        batch.put(Space::Order(OrderId(order)), "key", order.to_string());
        engine.commit(batch, Durability::Synced).expect("written");
    }

    /// Numbers of the keyspaces' folders, the table of names left out.
    fn numbers(dir: &Path) -> Vec<u64> {
        let entries =
            std::fs::read_dir(dir.join(KEYSPACES)).expect("there").map(|entry| entry.expect("readable"));
        let folders = entries.filter(|entry| entry.path().is_dir());
        let mut numbers: Vec<u64> = folders
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|number| *number > 0)
            .collect();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn a_keyspace_whose_folder_is_gone_leaves_its_number_to_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Fjall::open(folder.path(), 1 << 20).expect("opens");
        let engine = open();
        (1..=2).for_each(|order| put(&engine, order));
        // Nothing is in it yet, so nothing else knows its number.
        drop(engine.keyspace(Space::Order(OrderId(3))).expect("made"));
        drop(engine);
        // As a power cut does it between the name and the folder.
        let lost = *numbers(folder.path()).last().expect("three");
        std::fs::remove_dir_all(folder.path().join(KEYSPACES).join(lost.to_string())).expect("removed");
        let engine = open();
        put(&engine, 4);
        put(&engine, 3);
        engine.drop_space(Space::Order(OrderId(3))).expect("dropped");
        drop(engine);
        let engine = open();
        put(&engine, 5);
        drop(engine);
        assert!(!numbers(folder.path()).contains(&lost));
        let engine = open();
        let found = |order: u64| engine.view().get(Space::Order(OrderId(order)), b"key").expect("readable");
        let all: Vec<Option<Bytes>> = (1..=5).map(found).collect();
        assert_eq!(all, [Some("1".into()), Some("2".into()), None, Some("4".into()), Some("5".into())]);
    }
}
