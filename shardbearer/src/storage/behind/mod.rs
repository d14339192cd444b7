//! Write-behind: the latest changes wait in memory, and go to the engine below many at a time.
//!
//! Each entry of a log changes the same few rows again: how far it was applied, the counters of a shard, its sessions.
//! Below, each time costs an insertion, and every reader passes by the old versions. So changes gather here, where a
//! later one replaces an earlier one, until they are [`FULL_BYTES`] or [`AGE_MAX`] old; then a thread of their own
//! writes them below **as one batch**. Nothing is promised by that: a radiant's log has what a crash takes from here,
//! and since the batches go down in order and whole, a crash takes a suffix. A synced commit waits until all is below.
//!
//! A view is a few pointers: to what gathers ([`pile`]), to what is being written, and to one view of the engine below,
//! which is taken anew only when something was written there. Rows that went down lately are also kept in a cache ([`recent`]).

mod layer;
mod pile;
mod recent;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use shardbearer_core::storage::{
    Batch, Durability, KeyRange, Rows, Space, StorageEngine, StorageError, View,
};

use self::layer::{Change, Over};
use self::pile::Pile;
use self::recent::Recent;
use super::background;

/// So much gathers at most; as much again may be on its way down. Then commits wait.
const FULL_BYTES: usize = 8 << 20;

/// How long a change waits at most. It bounds what a start after a crash has to replay.
const AGE_MAX: Duration = Duration::from_secs(1);

/// An engine with its latest changes in memory.
pub struct Behind {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    below: Arc<dyn StorageEngine>,
    recent: Arc<Recent>,
    age_max: Duration,
    live: Mutex<Live>,
    /// Something is to be written, or was.
    changed: Condvar,
}

struct Live {
    gathering: Pile,
    /// Which pile that is; they are written in order.
    number: u64,
    bytes: usize,
    /// All piles up to this one are below.
    written: u64,
    /// Somebody waits until this one is.
    wanted: u64,
    /// So many wait to drop a space, or do; no pile begins to be written meanwhile.
    dropping: usize,
    /// On its way down.
    writing: Option<Pile>,
    below: Arc<dyn View>,
    /// The engine below failed. What it was given last stays in `writing`, for readers.
    failure: Option<StorageError>,
    closing: bool,
}

impl Behind {
    /// Changes gather over `below`, which must not be changed by anybody else; about `cache_bytes` of rows are kept.
    pub fn new(below: Arc<dyn StorageEngine>, cache_bytes: u64) -> Result<Behind, StorageError> {
        Behind::with(below, cache_bytes, AGE_MAX)
    }

    fn with(
        below: Arc<dyn StorageEngine>,
        cache_bytes: u64,
        age_max: Duration,
    ) -> Result<Behind, StorageError> {
        let live = Live {
            gathering: Pile::default(),
            number: 1,
            bytes: 0,
            written: 0,
            wanted: 0,
            dropping: 0,
            writing: None,
            below: below.view().into(),
            failure: None,
            closing: false,
        };
        let (recent, live, changed) = (Arc::new(Recent::new(cache_bytes)), Mutex::new(live), Condvar::new());
        let shared = Arc::new(Shared { below, recent, age_max, live, changed });
        let writer = shared.clone();
        #[allow(clippy::disallowed_methods)] // it waits for the disk; simulations have a storage without it
        let thread = std::thread::Builder::new()
            .name("data-writer".into())
            .spawn(move || {
                background::stand_back();
                writer.write_all();
            })
            .map_err(|error| StorageError::Io(format!("cannot start the data's writer: {error}")))?;
        Ok(Behind { shared, thread: Some(thread) })
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.shared.live.lock().closing = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The thread: writes when enough has gathered, it is old enough or wanted below, and what is left at the end.
    fn write_all(&self) {
        let mut live = self.live.lock();
        let mut old = false;
        while live.failure.is_none() {
            let waits = !live.gathering.is_empty();
            let due = old || live.closing || live.bytes >= FULL_BYTES || live.wanted >= live.number;
            if live.writing.is_some() || live.dropping > 0 {
                self.changed.wait(&mut live);
            } else if waits && due {
                live = self.write(live);
                old = false;
            } else if waits {
                old = self.changed.wait_for(&mut live, self.age_max).timed_out();
            } else if live.closing {
                return;
            } else {
                self.changed.wait(&mut live);
            }
        }
    }

    /// Writes what has gathered. Nothing else may be on its way.
    fn write<'a>(&'a self, mut live: MutexGuard<'a, Live>) -> MutexGuard<'a, Live> {
        let rows = std::mem::take(&mut live.gathering);
        let number = live.begin_another();
        // There is room again.
        self.changed.notify_all();
        live = self.change(live, rows.clone(), || {
            let rows = rows.melted();
            self.below.commit(rows.to_batch(), Durability::Buffered)?;
            self.recent.take(&rows, number);
            Ok(())
        });
        if live.failure.is_none() {
            live.written = number;
            self.changed.notify_all();
        }
        live
    }

    /// Changes the engine below, while readers see `writing` over what it was. Nothing else may be on its way.
    fn change<'a>(
        &'a self,
        mut live: MutexGuard<'a, Live>,
        writing: Pile,
        change: impl FnOnce() -> Result<(), StorageError>,
    ) -> MutexGuard<'a, Live> {
        live.writing = Some(writing);
        drop(live);
        let changed = change().map(|()| self.below.view());
        let mut live = self.live.lock();
        match changed {
            Ok(view) => (live.below, live.writing) = (view.into(), None),
            Err(error) => live.failure = Some(error),
        }
        self.changed.notify_all();
        live
    }

    /// Waits until something is so, or never will be.
    fn until<'a>(
        &self,
        mut live: MutexGuard<'a, Live>,
        so: impl Fn(&Live) -> bool,
    ) -> Result<MutexGuard<'a, Live>, StorageError> {
        loop {
            if let Some(failure) = &live.failure {
                return Err(failure.clone());
            }
            if so(&live) {
                return Ok(live);
            }
            self.changed.wait(&mut live);
        }
    }

    /// Waits until there is room, or there never will be.
    fn room(&self) -> MutexGuard<'_, Live> {
        let mut live = self.live.lock();
        while live.bytes >= FULL_BYTES && live.failure.is_none() {
            self.changed.wait(&mut live);
        }
        live
    }

    fn gather(&self, batch: Batch) -> Result<(), StorageError> {
        let mut live = self.room();
        if let Some(failure) = &live.failure {
            return Err(failure.clone());
        }
        if batch.is_empty() {
            return Ok(());
        }
        let first = live.gathering.is_empty();
        live.bytes += live.gathering.take(batch);
        if first || live.bytes >= FULL_BYTES {
            self.changed.notify_all();
        }
        Ok(())
    }

    /// Waits for what has gathered until now, and not for what others add meanwhile.
    fn sync(&self) -> Result<(), StorageError> {
        let mut live = self.live.lock();
        let last = if live.gathering.is_empty() { live.number - 1 } else { live.number };
        live.wanted = live.wanted.max(last);
        self.changed.notify_all();
        drop(self.until(live, |live| live.written >= last)?);
        self.below.commit(Batch::default(), Durability::Synced)
    }

    fn drop_space(&self, space: Space) -> Result<(), StorageError> {
        let mut live = self.live.lock();
        live.dropping += 1;
        let idle = self.until(live, |live| live.writing.is_none());
        let dropped = idle.and_then(|mut live| {
            live.gathering.forget(space);
            if live.gathering.is_empty() {
                // There is nothing to write, and who waits for it or for room need not.
                live.written = live.begin_another();
            }
            let live = self.change(live, Pile::default(), || {
                self.recent.clear();
                self.below.drop_space(space)
            });
            live.failure.clone().map_or(Ok(()), Err)
        });
        self.live.lock().dropping -= 1;
        self.changed.notify_all();
        dropped
    }
}

impl Live {
    /// What gathers from now on is another pile; returns the number of the former.
    fn begin_another(&mut self) -> u64 {
        self.bytes = 0;
        self.number += 1;
        self.number - 1
    }
}

impl StorageEngine for Behind {
    fn view(&self) -> Box<dyn View> {
        let live = self.shared.live.lock();
        Box::new(Picture {
            gathering: live.gathering.clone(),
            writing: live.writing.clone(),
            below: live.below.clone(),
            recent: self.shared.recent.clone(),
            seen: live.written,
        })
    }

    fn views_hold_commits_up(&self) -> bool {
        self.shared.below.views_hold_commits_up()
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), StorageError> {
        self.shared.gather(batch)?;
        match durability {
            Durability::Buffered => Ok(()),
            Durability::Synced => self.shared.sync(),
        }
    }

    fn is_full(&self) -> bool {
        let live = self.shared.live.lock();
        live.bytes >= FULL_BYTES && live.failure.is_none()
    }

    fn make_room(&self) {
        drop(self.shared.room());
    }

    fn prepare(&self, spaces: &[Space]) {
        self.shared.below.prepare(spaces);
    }

    fn drop_space(&self, space: Space) -> Result<(), StorageError> {
        self.shared.drop_space(space)
    }

    fn spaces(&self) -> Result<Vec<Space>, StorageError> {
        let live = self.shared.live.lock();
        let mut spaces: BTreeSet<Space> = self.shared.below.spaces()?.into_iter().collect();
        spaces.extend(live.writing.iter().flat_map(|rows| rows.spaces()));
        spaces.extend(live.gathering.spaces());
        Ok(spaces.into_iter().collect())
    }

    fn disk_bytes(&self) -> u64 {
        self.shared.below.disk_bytes()
    }
}

struct Picture {
    gathering: Pile,
    writing: Option<Pile>,
    below: Arc<dyn View>,
    recent: Arc<Recent>,
    /// `below` has the piles up to this one.
    seen: u64,
}

impl View for Picture {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let piles = std::iter::once(&self.gathering).chain(&self.writing);
        match piles.into_iter().find_map(|pile| pile.look(space, key)) {
            Some(changed) => Ok(changed),
            None => match self.recent.get(space, key, self.seen) {
                Some(value) => Ok(Some(value)),
                None => self.below.get(space, key),
            },
        }
    }

    fn scan(&self, space: Space, range: &KeyRange) -> Rows<'_> {
        let below = self.below.scan(space, range).map(|row| row.map(|(key, value)| (key, Some(value))));
        let mut rows: Box<dyn Iterator<Item = Change> + '_> = Box::new(below);
        let layers = self.writing.iter().chain([&self.gathering]).flat_map(Pile::layers);
        for layer in layers.filter(|layer| layer.has(space)) {
            rows = Box::new(Over::new(layer.range(space, range), rows));
        }
        Box::new(rows.filter_map(|row| match row {
            Ok((key, value)) => Some(Ok((key, value?))),
            Err(error) => Some(Err(error)),
        }))
    }
}
