//! Where in fjall a space's rows are: in a keyspace of its own, or with others in one that many share.
//!
//! A keyspace of its own is dropped in a moment, with all its rows, but to make one costs some ten fsyncs, and every commit
//! waits. So what is expected is made beforehand, by a thread that leaves the disk to others in between; and
//! after the first [`OWN_MAX`], spaces share one, where each has its prefix and is dropped row by row. Else a thousand shards
//! that get their first rows at the same time hold up a radiant for many seconds. Once placed, a space stays where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable};
use parking_lot::{Condvar, Mutex, RwLock};
use shardbearer_core::storage::{KeyRange, Space, StorageError};

use super::fjall::{failed, opening, unwritable};
use super::{names, settle};

/// Bytes of one keyspace's rows in memory before they are written out. All together have another bound ([`super::memtables`]).
const MEMTABLE_BYTES: u64 = 16 << 20;

/// So many spaces have a keyspace of their own; a cluster as it is founded without being told otherwise has fewer.
pub(super) const OWN_MAX: usize = 96;

/// The keyspace of the others.
const SHARED: &str = "shared";

/// Rows that are removed at once when a space is dropped there.
const DROPPED_AT_ONCE: usize = 4_096;

/// fjall's folder with one for each keyspace.
pub(super) const FOLDER: &str = "keyspaces";

/// After one was made ahead the disk is left alone for so many times as long as that took.
const REST: u32 = 1;

/// From which key to which.
type Keys = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// Where a space is.
#[derive(Clone)]
pub(super) struct Place {
    pub keyspace: Keyspace,
    /// Others are there too, and keys have a prefix.
    pub shared: bool,
}

impl Place {
    /// A row's key here.
    pub(super) fn key(&self, space: Space, key: &[u8]) -> Vec<u8> {
        match self.shared {
            true => [&names::prefix(space)[..], key].concat(),
            false => key.to_vec(),
        }
    }

    /// The keys of a range here; `None` if there can be none.
    pub(super) fn range(&self, space: Space, range: &KeyRange) -> Option<Keys> {
        // An end before the start is an empty range, not a panic.
        if range.end.as_ref().is_some_and(|end| *end <= range.start) {
            return None;
        }
        let end = match &range.end {
            Some(end) => Some(self.key(space, end)),
            None if self.shared => KeyRange::prefix(&names::prefix(space)).end,
            None => None,
        };
        let end = end.map_or(Bound::Unbounded, Bound::Excluded);
        Some((Bound::Included(self.key(space, &range.start)), end))
    }

    /// How many bytes of a key here are not the row's.
    pub(super) fn prefix(&self) -> usize {
        if self.shared { names::PREFIX } else { 0 }
    }
}

/// All places by their spaces.
pub(super) type Known = Arc<BTreeMap<Space, Place>>;

struct Shared {
    database: Database,
    dir: PathBuf,
    own_max: usize,
    known: RwLock<Known>,
    /// One at a time makes or drops keyspaces; readers are not kept waiting.
    changes: Mutex<Changes>,
    asked: Condvar,
}

#[derive(Default)]
struct Changes {
    expected: BTreeSet<Space>,
    /// The keyspace that many share, once there is one.
    shared: Option<Keyspace>,
    closing: bool,
}

/// The keyspaces of a database.
pub(super) struct Keyspaces {
    shared: Arc<Shared>,
    ahead: Option<JoinHandle<()>>,
}

impl Keyspaces {
    /// Opens those that there are. So many spaces get one of their own.
    pub(super) fn open(database: Database, dir: &Path, own_max: usize) -> Result<Keyspaces, StorageError> {
        let (mut known, mut changes) = (BTreeMap::new(), Changes::default());
        for name in database.list_keyspace_names() {
            let keyspace = database.keyspace(&name, options).map_err(|error| opening(dir, &error))?;
            if &*name == SHARED {
                for space in sharing(&keyspace).map_err(|error| opening(dir, &error))? {
                    known.insert(space, Place { keyspace: keyspace.clone(), shared: true });
                }
                changes.shared = Some(keyspace);
                continue;
            }
            let Some(space) = names::parse(&name) else {
                return Err(StorageError::Corrupt(format!("{}: unknown keyspace {name:?}", dir.display())));
            };
            known.insert(space, Place { keyspace, shared: false });
        }
        let known = RwLock::new(Arc::new(known));
        let (changes, asked) = (Mutex::new(changes), Condvar::new());
        let shared = Arc::new(Shared { database, dir: dir.to_owned(), own_max, known, changes, asked });
        let for_thread = shared.clone();
        #[allow(clippy::disallowed_methods)] // it waits for the disk; simulations have a storage without it
        let ahead =
            std::thread::Builder::new().name("data-ahead".into()).spawn(move || for_thread.make_all());
        let ahead =
            ahead.map_err(|error| StorageError::Io(format!("cannot start the data's helper: {error}")))?;
        Ok(Keyspaces { shared, ahead: Some(ahead) })
    }

    /// Those that there are now.
    pub(super) fn known(&self) -> Known {
        self.shared.known.read().clone()
    }

    /// All keyspaces, each once.
    pub(super) fn all(&self) -> Vec<Keyspace> {
        let known = self.known();
        let shared = known.values().find(|place| place.shared);
        let own = known.values().filter(|place| !place.shared);
        own.chain(shared).map(|place| place.keyspace.clone()).collect()
    }

    /// That of a space, which is given one if it has none.
    pub(super) fn of(&self, space: Space) -> Result<Place, StorageError> {
        if let Some(place) = self.shared.known.read().get(&space) {
            return Ok(place.clone());
        }
        self.shared.make(space, &mut self.shared.changes.lock())
    }

    /// Has places made for those that have none.
    pub(super) fn expect(&self, spaces: &[Space]) {
        let known = self.known();
        self.shared.changes.lock().expected.extend(spaces.iter().filter(|space| !known.contains_key(space)));
        self.shared.asked.notify_one();
    }

    /// Drops that of a space.
    pub(super) fn drop_space(&self, space: Space) -> Result<(), StorageError> {
        let shared = &self.shared;
        let mut changes = shared.changes.lock();
        changes.expected.remove(&space);
        let place = Arc::make_mut(&mut *shared.known.write()).remove(&space);
        match place {
            None => Ok(()),
            Some(place) if place.shared => {
                shared.clear(&place, space).map_err(|error| failed(&shared.dir, &error))
            }
            Some(Place { keyspace, .. }) => {
                let folder = shared.dir.join(FOLDER);
                settle::keep_above(&folder, keyspace.id()).map_err(|error| unwritable(&folder, &error))?;
                shared.database.delete_keyspace(keyspace).map_err(|error| failed(&shared.dir, &error))
            }
        }
    }
}

impl Drop for Keyspaces {
    fn drop(&mut self) {
        self.shared.changes.lock().closing = true;
        self.shared.asked.notify_one();
        if let Some(thread) = self.ahead.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn make(&self, space: Space, changes: &mut Changes) -> Result<Place, StorageError> {
        changes.expected.remove(&space);
        let own = {
            let known = self.known.read();
            if let Some(place) = known.get(&space) {
                return Ok(place.clone());
            }
            known.values().filter(|place| !place.shared).count()
        };
        let place = match &changes.shared {
            _ if own < self.own_max => Place { keyspace: self.keyspace(&names::name(space))?, shared: false },
            Some(keyspace) => Place { keyspace: keyspace.clone(), shared: true },
            None => {
                let keyspace = self.keyspace(SHARED)?;
                changes.shared = Some(keyspace.clone());
                Place { keyspace, shared: true }
            }
        };
        Arc::make_mut(&mut *self.known.write()).insert(space, place.clone());
        Ok(place)
    }

    /// Makes one.
    fn keyspace(&self, name: &str) -> Result<Keyspace, StorageError> {
        let keyspace = self.database.keyspace(name, options).map_err(|error| failed(&self.dir, &error))?;
        // fjall syncs what is in the new folder, but not the name of the folder itself. Without it a power cut takes the
        // keyspace, and opening passes over the journal's rows of a keyspace that is not there.
        File::open(self.dir.join(FOLDER))
            .and_then(|folder| folder.sync_all())
            .map_err(|error| unwritable(&self.dir, &error))?;
        Ok(keyspace)
    }

    /// Removes the rows of a space that shares its place. A crash may leave some: then the space is still there, as one
    /// that nobody knows, and is dropped when its order is opened.
    fn clear(&self, place: &Place, space: Space) -> fjall::Result<()> {
        let Some(range) = place.range(space, &KeyRange::all()) else { return Ok(()) };
        let snapshot = self.database.snapshot();
        let mut keys = snapshot.range::<Vec<u8>, _>(&place.keyspace, range).map(Guard::key).peekable();
        while keys.peek().is_some() {
            let mut batch = OwnedWriteBatch::with_capacity(self.database.clone(), DROPPED_AT_ONCE);
            for key in keys.by_ref().take(DROPPED_AT_ONCE) {
                batch.remove(&place.keyspace, key?);
            }
            batch.commit()?;
        }
        self.database.persist(PersistMode::SyncAll)
    }

    /// The thread: makes what is expected until the end.
    #[allow(clippy::disallowed_methods)] // how long a disk takes is real time
    fn make_all(&self) {
        let mut changes = self.changes.lock();
        while !changes.closing {
            let Some(space) = changes.expected.first().copied() else {
                self.asked.wait(&mut changes);
                continue;
            };
            let began = Instant::now();
            if let Err(error) = self.make(space, &mut changes) {
                // Whoever writes the first row meets it again, and says so to whom it concerns.
                tracing::warn!(%error, "no place can be made beforehand for what is to be stored");
                return;
            }
            let until = Instant::now() + began.elapsed() * REST;
            while !changes.closing && !self.asked.wait_until(&mut changes, until).timed_out() {}
        }
    }
}

/// The spaces that have rows in the shared keyspace.
fn sharing(keyspace: &Keyspace) -> Result<Vec<Space>, fjall::Error> {
    let (mut spaces, mut from) = (Vec::new(), Vec::new());
    while let Some(row) = keyspace.range(from..).next() {
        let key = row.key()?;
        let Some(space) = names::parse_prefix(&key) else {
            return Err(fjall::Error::Io(std::io::Error::other("a row of no space among the shared ones")));
        };
        spaces.push(space);
        let Some(next) = KeyRange::prefix(&names::prefix(space)).end else { break };
        from = next;
    }
    Ok(spaces)
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES)
}
