//! The storage of one machine: batches in memory, of which a crash takes back the latest that were not synced.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use shardbearer_core::storage::{Batch, Durability, KeyRange, Space, StorageEngine, StorageError, View};

use super::points::Deed;
use super::{Disk, Flaw, Lie, Trouble};
use crate::lock;
use crate::world::Life;

/// Batches that may be lost; a real engine writes the older ones by itself.
const UNSYNCED_MAX: usize = 200;

/// The rows of a space.
pub type Rows = BTreeMap<Bytes, Bytes>;

type Spaces = BTreeMap<Space, Arc<Rows>>;

/// What is stored, on disk and on the way there.
#[derive(Default)]
pub(super) struct StorageState {
    live: Arc<Spaces>,
    durable: Arc<Spaces>,
    unsynced: VecDeque<Batch>,
    /// Commits since somebody made room, while the data are slow.
    since_room: usize,
}

/// Commits after which slow data want somebody to wait for them.
const FULL_AFTER: usize = 8;

fn apply(spaces: &mut Arc<Spaces>, batch: &Batch) {
    let spaces = Arc::make_mut(spaces);
    for (space, key, value) in batch.iter() {
        let rows = Arc::make_mut(spaces.entry(space).or_default());
        match value {
            Some(value) => drop(rows.insert(key.clone(), value.clone())),
            None => drop(rows.remove(key)),
        }
    }
}

impl StorageState {
    pub(super) fn live(&self) -> Arc<Spaces> {
        self.live.clone()
    }

    pub(super) fn durable(&self) -> &Spaces {
        &self.durable
    }

    fn settle(&mut self, count: usize) {
        for batch in self.unsynced.drain(..count) {
            apply(&mut self.durable, &batch);
        }
    }

    /// Keeps a prefix of what was not synced. Returns how many batches were kept and lost.
    pub(super) fn crash(&mut self, rng: &mut StdRng, flaw: Option<Flaw>) -> (usize, usize) {
        let total = self.unsynced.len();
        let kept = rng.random_range(0..=total);
        self.settle(kept);
        if let Some(torn) = self.unsynced.pop_front().filter(|_| flaw == Some(Flaw::TearsBatches)) {
            let half = torn.len() / 2;
            let mut kept = Batch::default();
            for (space, key, value) in torn.into_rows().take(half) {
                kept.set(space, key, value);
            }
            apply(&mut self.durable, &kept);
        }
        self.unsynced.clear();
        self.live = self.durable.clone();
        self.since_room = 0;
        (kept, total - kept)
    }

    /// What a loss of power now would leave: a prefix of what was not synced is there.
    pub(super) fn fork(&self, rng: &mut StdRng) -> StorageState {
        let mut durable = self.durable.clone();
        let kept = rng.random_range(0..=self.unsynced.len());
        self.unsynced.iter().take(kept).for_each(|batch| apply(&mut durable, batch));
        StorageState { live: durable.clone(), durable, ..StorageState::default() }
    }
}

/// The storage as one life sees it.
pub struct SimStorage {
    disk: Arc<Disk>,
    life: Arc<Life>,
}

impl SimStorage {
    pub(super) fn open(disk: Arc<Disk>, life: Arc<Life>) -> Arc<SimStorage> {
        Arc::new(SimStorage { disk, life })
    }

    fn check(&self) -> Result<(), StorageError> {
        if self.life.is_dead() { Err(SimStorage::died()) } else { Ok(()) }
    }

    fn died() -> StorageError {
        StorageError::Io("the radiant is dead".into())
    }

    /// Comes by a point at which the machine may crash.
    fn pass(&self, deed: Option<Deed>, after: bool) -> Result<(), StorageError> {
        let struck = deed.is_some_and(|deed| self.disk.pass(&self.life, deed, after));
        if struck { Err(SimStorage::died()) } else { Ok(()) }
    }

    /// Why nothing can be written at the moment.
    fn unwritable(&self) -> Option<StorageError> {
        let (why, covered) = match lock(&self.disk.state).trouble {
            Trouble::FailingData => ("the disk does not take the data", "data write failed"),
            Trouble::NoRoom => ("no space left on the disk", "no room for the data"),
            Trouble::None | Trouble::Failing | Trouble::Unreadable | Trouble::Damaged => return None,
        };
        self.disk.universe.trace.cover(covered);
        Some(StorageError::Io(why.into()))
    }

    /// What the disk makes of a batch, given its flaw.
    fn spoil(&self, batch: Batch, rng: &mut StdRng) -> Batch {
        let lost = |space: Space, rng: &mut StdRng| match self.disk.flaw {
            Some(Flaw::LosesRows) => matches!(space, Space::Shard { .. }) && rng.random_ratio(1, 500),
            Some(_) | None => false,
        };
        let mut spoilt = Batch::default();
        for (space, key, value) in batch.into_rows() {
            if !lost(space, rng) {
                spoilt.set(space, key, value);
            }
        }
        spoilt
    }
}

impl StorageEngine for SimStorage {
    fn view(&self) -> Box<dyn View> {
        let state = lock(&self.disk.state);
        let live = state.storage.live();
        let rows = state.lie.map_or(live.clone(), |lie| falsified(&live, lie));
        Box::new(Picture { rows, disk: self.disk.clone() })
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), StorageError> {
        self.check()?;
        let deed = Deed::of_commit(&batch, durability);
        self.pass(deed, false)?;
        let failure = self.unwritable();
        let mut state = lock(&self.disk.state);
        let super::State { rng, storage, data_ms_max, .. } = &mut *state;
        // Of a write that fails nobody knows whether it is done; after it the radiant ends.
        if let Some(failure) = &failure
            && rng.random_bool(0.5)
        {
            return Err(failure.clone());
        }
        let batch = if self.disk.flaw.is_some() { self.spoil(batch, rng) } else { batch };
        apply(&mut storage.live, &batch);
        storage.unsynced.push_back(batch);
        storage.since_room += usize::from(*data_ms_max > 0);
        if let Some(failure) = failure {
            return Err(failure);
        }
        let count = match durability {
            Durability::Synced => storage.unsynced.len(),
            Durability::Buffered => storage.unsynced.len().saturating_sub(UNSYNCED_MAX),
        };
        storage.settle(count);
        drop(state);
        self.pass(deed, true)
    }

    fn is_full(&self) -> bool {
        let state = lock(&self.disk.state);
        state.data_ms_max > 0 && state.storage.since_room >= FULL_AFTER
    }

    fn make_room(&self) {
        lock(&self.disk.state).storage.since_room = 0;
    }

    fn drop_space(&self, space: Space) -> Result<(), StorageError> {
        self.check()?;
        if let Some(failure) = self.unwritable() {
            return Err(failure);
        }
        let deed = self.disk.installs(space.order()).then_some(Deed::EmptySpace);
        self.pass(deed, false)?;
        let mut state = lock(&self.disk.state);
        let storage = &mut state.storage;
        Arc::make_mut(&mut storage.live).remove(&space);
        Arc::make_mut(&mut storage.durable).remove(&space);
        storage.unsynced.iter_mut().for_each(|batch| batch.forget_space(space));
        drop(state);
        self.pass(deed, true)
    }

    fn spaces(&self) -> Result<Vec<Space>, StorageError> {
        Ok(lock(&self.disk.state).storage.live.keys().copied().collect())
    }

    fn disk_bytes(&self) -> u64 {
        let live = lock(&self.disk.state).storage.live();
        live.values().map(|rows| rows.len() as u64).sum()
    }
}

/// What a lie makes of the rows; the first byte of a key says what it is, see `shardbearer_state::keys`.
fn falsified(spaces: &Spaces, lie: Lie) -> Arc<Spaces> {
    let mut spaces = spaces.clone();
    for (_, rows) in spaces.iter_mut().filter(|(space, _)| matches!(space, Space::Shard { .. })) {
        let rows = Arc::make_mut(rows);
        match lie {
            Lie::OmitsKeys => drop(rows.pop_first()),
            Lie::OmitsSessions => rows.retain(|key, _| key.first() != Some(&3)),
        }
    }
    Arc::new(spaces)
}

struct Picture {
    rows: Arc<Spaces>,
    disk: Arc<Disk>,
}

impl Picture {
    fn check(&self) -> Result<(), StorageError> {
        match self.disk.unreadable() {
            Some((why, true)) => Err(StorageError::Corrupt(why.into())),
            Some((why, false)) => Err(StorageError::Io(why.into())),
            None => Ok(()),
        }
    }
}

impl View for Picture {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.check()?;
        let value = self.rows.get(&space).and_then(|rows| rows.get(key)).cloned();
        value.map(|value| self.disk.check_row(space, key, value)).transpose()
    }

    fn scan(&self, space: Space, range: &KeyRange) -> shardbearer_core::storage::Rows<'_> {
        if let Err(error) = self.check() {
            return Box::new(std::iter::once(Err(error)));
        }
        let Some(rows) = self.rows.get(&space) else { return Box::new(std::iter::empty()) };
        let end = match &range.end {
            Some(end) if end.as_slice() <= range.start.as_slice() => return Box::new(std::iter::empty()),
            Some(end) => Bound::Excluded(end.as_slice()),
            None => Bound::Unbounded,
        };
        let rows = rows.range::<[u8], _>((Bound::Included(range.start.as_slice()), end));
        Box::new(rows.map(move |(key, value)| {
            let value = self.disk.check_row(space, key, value.clone())?;
            Ok((key.clone(), value))
        }))
    }
}
