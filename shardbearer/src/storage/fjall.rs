//! The default engine: fjall, an LSM tree, with a keyspace per space as long as they are not too many, so that a shard that
//! is dropped gives its disk space back at once.
//!
//! Commits are not fsynced unless asked: the radiant's log replays what a loss of power takes, and
//! fjall's journal loses only a suffix. A failed fsync poisons fjall for good, which stops the radiant.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fjall::{Database, LsmError, OwnedWriteBatch, PersistMode, Readable, Snapshot};
use shardbearer_core::storage::{
    Batch, Durability, KeyRange, Rows, Space, StorageEngine, StorageError, View,
};

use super::background;
use super::keyspaces::{self, Keyspaces, Known, Place};
use super::memtables::Memtables;
use super::opener;
use super::settle;
use super::writeback::Writeback;

/// Bytes of journal on disk before keyspaces are written out so that it can go.
const JOURNAL_BYTES: u64 = 256 << 20;

/// fjall behind the storage seam.
pub struct Fjall {
    dir: Arc<Path>,
    database: Database,
    keyspaces: Keyspaces,
    memtables: Memtables,
    writeback: Writeback,
}

impl Fjall {
    /// Opens or creates the database in `dir`.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StorageError> {
        Fjall::with(dir, cache_bytes, keyspaces::OWN_MAX)
    }

    /// The same, where only so many spaces get a keyspace of their own.
    pub fn with(dir: &Path, cache_bytes: u64, own_max: usize) -> Result<Self, StorageError> {
        settle::settle(dir)
            .map_err(|error| StorageError::Io(format!("cannot make {} durable: {error}", dir.display())))?;
        let folder = dir.join(keyspaces::FOLDER);
        if folder.is_dir() {
            settle::keep_numbers(&folder).map_err(|error| unwritable(&folder, &error))?;
        }
        let database = opener::opened(dir, || {
            // The threads that this starts, which flush and compact.
            background::stand_back();
            let settings = Database::builder(dir).cache_size(cache_bytes).max_journaling_size(JOURNAL_BYTES);
            settings.worker_threads(2).open().map_err(|error| opening(dir, &error))
        })?;
        let keyspaces = opener::opened(dir, || Keyspaces::open(database.clone(), dir, own_max))?;
        let writeback = Writeback::start(dir)
            .map_err(|error| StorageError::Io(format!("cannot start the data's writeback: {error}")))?;
        Ok(Fjall { dir: dir.into(), database, keyspaces, memtables: Memtables::default(), writeback })
    }
}

pub(super) fn unwritable(path: &Path, error: &std::io::Error) -> StorageError {
    StorageError::Io(format!("{}: {error}", path.display()))
}

pub(super) fn opening(dir: &Path, error: &fjall::Error) -> StorageError {
    match error {
        fjall::Error::Io(error) => StorageError::Io(format!("cannot open {}: {error}", dir.display())),
        other => StorageError::Corrupt(format!("{}: {other:?}; {}", dir.display(), opener::REBUILD)),
    }
}

/// What went wrong once it was open, with the place: whoever reads it has to find the disk.
pub(super) fn failed(dir: &Path, error: &fjall::Error) -> StorageError {
    let dir = dir.display();
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) => {
            StorageError::Io(format!("{dir}: {error}"))
        }
        fjall::Error::Poisoned => StorageError::Io(format!("{dir}: a write failed before")),
        fjall::Error::KeyspaceDeleted | fjall::Error::Locked => StorageError::Io(format!("{dir}: {error:?}")),
        damaged => StorageError::Corrupt(format!("{dir}: {damaged:?}; {}", opener::REBUILD)),
    }
}

impl StorageEngine for Fjall {
    fn view(&self) -> Box<dyn View> {
        // The snapshot first: every keyspace with rows in it is known by then.
        let snapshot = self.database.snapshot();
        Box::new(Picture { dir: self.dir.clone(), keyspaces: self.keyspaces.known(), snapshot })
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), StorageError> {
        let writes = OwnedWriteBatch::with_capacity(self.database.clone(), batch.len());
        let mut writes = writes.durability(Some(PersistMode::Buffer));
        let mut last: Option<(Space, Place)> = None;
        let mut bytes = 0;
        for (space, key, value) in batch.into_rows() {
            bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
            let place = match last.take() {
                Some((known, place)) if known == space => place,
                _ => self.keyspaces.of(space)?,
            };
            let key = if place.shared { place.key(space, &key).into() } else { key };
            match value {
                Some(value) => writes.insert(&place.keyspace, key, value),
                None => writes.remove(&place.keyspace, key),
            }
            last = Some((space, place));
        }
        self.writeback.grew(bytes as u64)?;
        let failed = |error: fjall::Error| failed(&self.dir, &error);
        writes.commit().map_err(failed)?;
        let grew = self.memtables.grew(bytes as u64, &self.database, || self.keyspaces.all());
        grew.map_err(failed)?;
        match durability {
            Durability::Buffered => Ok(()),
            Durability::Synced => self.database.persist(PersistMode::SyncAll).map_err(failed),
        }
    }

    fn prepare(&self, spaces: &[Space]) {
        self.keyspaces.expect(spaces);
    }

    fn drop_space(&self, space: Space) -> Result<(), StorageError> {
        self.keyspaces.drop_space(space)
    }

    fn spaces(&self) -> Result<Vec<Space>, StorageError> {
        Ok(self.keyspaces.known().keys().copied().collect())
    }

    fn disk_bytes(&self) -> u64 {
        // Only for people to read: an error here says nothing about the data.
        self.database.disk_space().unwrap_or(0)
    }
}

struct Picture {
    dir: Arc<Path>,
    keyspaces: Known,
    snapshot: Snapshot,
}

impl View for Picture {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let Some(place) = self.keyspaces.get(&space) else { return Ok(None) };
        let value = match place.shared {
            true => self.snapshot.get(&place.keyspace, place.key(space, key)),
            false => self.snapshot.get(&place.keyspace, key),
        };
        Ok(value.map_err(|error| failed(&self.dir, &error))?.map(Into::into))
    }

    fn scan(&self, space: Space, range: &KeyRange) -> Rows<'_> {
        let Some(place) = self.keyspaces.get(&space) else { return Box::new(std::iter::empty()) };
        let Some(bounds) = place.range(space, range) else { return Box::new(std::iter::empty()) };
        let prefix = place.prefix();
        let rows = self.snapshot.range::<Vec<u8>, _>(&place.keyspace, bounds).map(move |row| {
            let (key, value) = row.into_inner().map_err(|error| failed(&self.dir, &error))?;
            Ok((Bytes::from(key).slice(prefix..), value.into()))
        });
        Box::new(rows)
    }
}

#[cfg(test)]
mod tests {
    use shardbearer_core::ids::{OrderId, ShardId};

    use super::*;

    fn put(engine: &Fjall, order: u64) {
        let mut batch = Batch::default();
        batch.put(Space::Order(OrderId(order)), "key", order.to_string());
        engine.commit(batch, Durability::Synced).expect("written");
    }

    /// Numbers of the keyspaces' folders, the table of names left out.
    fn numbers(dir: &Path) -> Vec<u64> {
        let entries = std::fs::read_dir(dir.join(keyspaces::FOLDER))
            .expect("there")
            .map(|entry| entry.expect("readable"));
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
        drop(engine.keyspaces.of(Space::Order(OrderId(3))).expect("made"));
        drop(engine);
        // As a power cut does it between the name and the folder.
        let lost = *numbers(folder.path()).last().expect("three");
        std::fs::remove_dir_all(folder.path().join(keyspaces::FOLDER).join(lost.to_string()))
            .expect("removed");
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

    #[test]
    fn damage_that_is_read_names_its_place_and_says_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Fjall::open(folder.path(), 1 << 20).expect("opens");
        let (engine, space) = (open(), Space::Order(OrderId(2)));
        let mut batch = Batch::default();
        (0..1_000u32).for_each(|row| batch.put(space, row.to_be_bytes().to_vec(), vec![7; 100]));
        engine.commit(batch, Durability::Synced).expect("written");
        let keyspace = engine.keyspaces.of(space).expect("made").keyspace;
        keyspace.rotate_memtable_and_wait().expect("written out");
        let tables = folder.path().join(keyspaces::FOLDER).join(keyspace.id().to_string()).join("tables");
        drop((keyspace, engine));
        for table in std::fs::read_dir(tables).expect("there are tables") {
            let path = table.expect("readable").path();
            let mut bytes = std::fs::read(&path).expect("readable");
            let quarter = bytes.len() / 4;
            bytes[quarter] ^= 1;
            std::fs::write(&path, bytes).expect("written");
        }
        let engine = open();
        let read = engine.view().scan(space, &KeyRange::all()).collect::<Result<Vec<_>, _>>();
        let Err(StorageError::Corrupt(why)) = read else { panic!("{read:?}") };
        assert!(
            why.contains(folder.path().to_str().expect("text")) && why.contains(opener::REBUILD),
            "{why}"
        );
    }

    #[test]
    fn spaces_that_share_a_keyspace_are_apart_and_dropped_alone() {
        const OWN: usize = 2;
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Fjall::with(folder.path(), 1 << 20, OWN).expect("opens");
        let shard = |shard, generation| Space::Shard { order: OrderId(2), shard: ShardId(shard), generation };
        let engine = open();
        // Dropped rows take more than one batch.
        let many = 10_000u32;
        for number in 0..OWN as u64 + 3 {
            let mut batch = Batch::default();
            let rows = if number < OWN as u64 { 1 } else { many };
            for row in 0..rows {
                batch.put(shard(number, 1), row.to_be_bytes().to_vec(), number.to_string());
            }
            engine.commit(batch, Durability::Buffered).expect("written");
        }
        let first = OWN as u64;
        let places = numbers(folder.path()).len();
        assert_eq!(places, OWN + 1, "three share one");
        let before = engine.view();
        engine.drop_space(shard(first + 1, 1)).expect("dropped");
        let check = |engine: &Fjall| {
            let view = engine.view();
            let found = |number| view.scan(shard(number, 1), &KeyRange::all()).collect::<Result<Vec<_>, _>>();
            for there in [first, first + 2] {
                let rows = found(there).expect("readable");
                assert_eq!(rows.len(), many as usize);
                assert_eq!(rows[1], (1u32.to_be_bytes().to_vec().into(), there.to_string().into()));
                let some = KeyRange { start: vec![0, 0, 0, 9], end: Some(vec![0, 0, 1]) };
                assert_eq!(view.scan(shard(there, 1), &some).count(), 256 - 9);
            }
            assert_eq!(found(first + 1).expect("readable"), []);
            let known = engine.spaces().expect("known");
            assert_eq!(known.len(), OWN + 2);
            assert!(!known.contains(&shard(first + 1, 1)));
        };
        check(&engine);
        // Of what was taken before, either is allowed.
        assert!(before.get(shard(first + 1, 1), &[0, 0, 0, 1]).is_ok());
        drop(before);
        drop(engine);
        let engine = open();
        check(&engine);
        // A place that was given up is there for the next.
        engine.drop_space(shard(0, 1)).expect("dropped");
        let mut batch = Batch::default();
        batch.put(shard(0, 2), "key", "value");
        engine.commit(batch, Durability::Synced).expect("written");
        assert_eq!(engine.view().get(shard(0, 2), b"key").expect("readable"), Some("value".into()));
        assert_eq!(numbers(folder.path()).len(), places);
    }

    #[test]
    fn what_is_expected_is_made_beforehand_and_what_is_dropped_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = Fjall::open(folder.path(), 1 << 20).expect("opens");
        let spaces: Vec<Space> = (1..=5).map(|order| Space::Order(OrderId(order))).collect();
        let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        engine.prepare(&spaces);
        while engine.spaces().expect("known") != spaces {
            assert!(tokio::time::Instant::now() < end, "not all are made");
            std::thread::yield_now();
        }
        engine.drop_space(spaces[2]).expect("dropped");
        engine.prepare(&spaces[..1]);
        drop(engine);
        let engine = Fjall::open(folder.path(), 1 << 20).expect("opens");
        let left = [spaces[0], spaces[1], spaces[3], spaces[4]];
        assert_eq!(engine.spaces().expect("known"), left);
    }
}
