//! Where applied state lives: ordered rows in named spaces, changed by atomic batches.
//!
//! The log is what makes writes durable; a storage engine may lose the latest batches at a loss of
//! power, but only as a suffix, and the applied position goes with them, so that the log can replay.

mod stored;

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use thiserror::Error;

pub use self::stored::Stored;
use crate::ids::{OrderId, ShardId};

/// A named set of rows that can be dropped as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// An order's own state: applied position, membership, control state.
    Order(OrderId),
    /// One shard's rows, sessions and counters within one order.
    Shard {
        /// The order that holds them.
        order: OrderId,
        /// The shard.
        shard: ShardId,
        /// Grows each time the shard is cleared or arrives again.
        generation: u64,
    },
}

impl Space {
    /// The order that the space belongs to.
    pub fn order(self) -> OrderId {
        match self {
            Space::Order(order) | Space::Shard { order, .. } => order,
        }
    }
}

/// How far a commit has gone when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Readable. Survives a crash of the process where the engine can, not a loss of power.
    Buffered,
    /// Survives a loss of power, with everything committed before it.
    Synced,
}

/// Why a storage engine failed. Never retried: the radiant stops.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StorageError {
    /// The disk or the engine refused.
    #[error("storage: {0}")]
    Io(String),
    /// Bytes on disk are not what was written.
    #[error("storage: damaged: {0}")]
    Corrupt(String),
}

/// Which rows, by key: `start` inclusive, `end` exclusive; `None` is unbounded.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct KeyRange {
    /// First key wanted.
    pub start: Vec<u8>,
    /// First key not wanted any more.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> KeyRange {
        let mut end = prefix.to_vec();
        while let Some(last) = end.last_mut() {
            if *last < u8::MAX {
                *last += 1;
                return KeyRange { start: prefix.to_vec(), end: Some(end) };
            }
            end.pop();
        }
        KeyRange { start: prefix.to_vec(), end: None }
    }

    /// All keys.
    pub fn all() -> KeyRange {
        KeyRange::default()
    }
}

/// Rows of a scan, in key order.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<(Bytes, Bytes), StorageError>> + 'a>;

/// A consistent picture of everything committed when it was taken.
pub trait View: Send + Sync {
    /// The row's value.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    /// The rows of `range`, ascending. A space that does not exist is empty.
    fn scan(&self, space: Space, range: &KeyRange) -> Rows<'_>;
}

/// A storage engine. All methods may be called from any thread and may block for the disk.
pub trait StorageEngine: Send + Sync {
    /// A consistent view, unaffected by later commits. Cheap.
    fn view(&self) -> Box<dyn View>;

    /// Whether commits wait while a view is open. Then no view may be held while waiting for anybody else.
    fn views_hold_commits_up(&self) -> bool {
        false
    }

    /// Applies all changes of the batch or none, across spaces. A space is created by its first row.
    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), StorageError>;

    /// Whether a commit would wait for the disk now. Who must not be kept waiting lets somebody else
    /// [`make_room`](StorageEngine::make_room) first.
    fn is_full(&self) -> bool {
        false
    }

    /// Waits until a commit need not wait for the disk, or until that has failed.
    fn make_room(&self) {}

    /// Says that rows of these spaces may come. An engine that has to do something before the first row of a space may
    /// begin with it, where that keeps nobody waiting. Such a space may be said to exist from then on.
    fn prepare(&self, _spaces: &[Space]) {}

    /// Drops a whole space and gives its disk space back, at once or in the background. Durable when it
    /// returns. Open views may or may not go on seeing it.
    fn drop_space(&self, space: Space) -> Result<(), StorageError>;

    /// The spaces that exist, ascending.
    fn spaces(&self) -> Result<Vec<Space>, StorageError>;

    /// Bytes on disk.
    fn disk_bytes(&self) -> u64;
}

/// Changes to be made together. A later change of the same row replaces an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    // A map per space, because a key can then be looked up without a copy of it.
    spaces: BTreeMap<Space, BTreeMap<Bytes, Option<Bytes>>>,
}

impl FromIterator<(Space, BTreeMap<Bytes, Option<Bytes>>)> for Batch {
    /// All changes of each space at once.
    fn from_iter<I: IntoIterator<Item = (Space, BTreeMap<Bytes, Option<Bytes>>)>>(spaces: I) -> Batch {
        Batch { spaces: spaces.into_iter().collect() }
    }
}

impl Batch {
    /// Sets a row.
    pub fn put(&mut self, space: Space, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.spaces.entry(space).or_default().insert(key.into(), Some(value.into()));
    }

    /// Removes a row.
    pub fn delete(&mut self, space: Space, key: impl Into<Bytes>) {
        self.spaces.entry(space).or_default().insert(key.into(), None);
    }

    /// Sets (`Some`) or removes (`None`) a row; returns what the batch said about it before.
    pub fn set(&mut self, space: Space, key: Bytes, value: Option<Bytes>) -> Option<Option<Bytes>> {
        self.spaces.entry(space).or_default().insert(key, value)
    }

    /// Makes the batch say nothing about a row.
    pub fn unset(&mut self, space: Space, key: &[u8]) {
        if let Some(rows) = self.spaces.get_mut(&space) {
            rows.remove(key);
        }
    }

    /// Forgets every change made to a space so far.
    pub fn forget_space(&mut self, space: Space) {
        self.spaces.remove(&space);
    }

    /// What the batch says about a row: `None` nothing, `Some(None)` removed.
    pub fn look(&self, space: Space, key: &[u8]) -> Option<Option<&Bytes>> {
        self.spaces.get(&space)?.get(key).map(Option::as_ref)
    }

    /// The changes, ordered by space and key; `None` removes.
    pub fn iter(&self) -> impl Iterator<Item = (Space, &Bytes, Option<&Bytes>)> {
        self.spaces
            .iter()
            .flat_map(|(space, rows)| rows.iter().map(|(key, value)| (*space, key, value.as_ref())))
    }

    /// The changes of one space within a range, ordered by key.
    pub fn range(&self, space: Space, range: &KeyRange) -> impl Iterator<Item = (&Bytes, Option<&Bytes>)> {
        let end = match &range.end {
            // An end before the start is an empty range, not a panic.
            Some(end) => Bound::Excluded(end.as_slice().max(&range.start)),
            None => Bound::Unbounded,
        };
        let bounds = (Bound::Included(range.start.as_slice()), end);
        self.spaces
            .get(&space)
            .into_iter()
            .flat_map(move |rows| rows.range::<[u8], _>(bounds))
            .map(|(key, value)| (key, value.as_ref()))
    }

    /// How many rows change.
    pub fn len(&self) -> usize {
        self.spaces.values().map(BTreeMap::len).sum()
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.spaces.values().all(BTreeMap::is_empty)
    }

    /// The changes by value, ordered by space and key; `None` removes.
    pub fn into_rows(self) -> impl Iterator<Item = (Space, Bytes, Option<Bytes>)> {
        self.spaces
            .into_iter()
            .flat_map(|(space, rows)| rows.into_iter().map(move |(key, value)| (space, key, value)))
    }
}
