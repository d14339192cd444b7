//! Room that is set aside for the moment in which somebody else has filled the disk.
//!
//! Writes of clients are refused before a disk is full, but what was taken until then has still to be written below the log, and
//! a disk can be filled within less than the second in which one looks. Data that cannot be written end a radiant, and where
//! one disk has all of them, the cluster. So a file of nothing but room is kept beside the data, which is removed right before a
//! commit that would find none. It is made anew once there is room for it and for the reserve.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::fs::FallocateFlags;
use shardbearer_core::storage::{Batch, Durability, Space, StorageEngine, StorageError, View};

use super::background;

/// Its name in the data directory of a radiant.
const NAME: &str = "ballast";

/// A commit finds at least as much free, or all that was set aside: twice what gathers before it is written, and more.
const COMMIT_BYTES: u64 = 24 << 20;

/// The most that is set aside: a few commits, and a table that is being flushed.
const BYTES_MAX: u64 = 64 << 20;

/// Time between two looks whether it can be set aside.
const PERIOD: Duration = Duration::from_secs(1);

/// Bytes that can still be written to the disk that has a folder, if that can be told.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(folder).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Gives up what was set aside in a folder in which nothing is to be any more.
pub fn give_up(folder: &Path) {
    match std::fs::remove_file(folder.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "{} is not needed any more, and cannot be removed", folder.join(NAME).display());
        }
        Ok(()) | Err(_) => {}
    }
}

/// What is set aside where so many bytes are kept in reserve.
fn bytes_of(reserve: u64) -> u64 {
    (reserve / 4).min(BYTES_MAX)
}

/// Bytes that everything else has to leave free there, so that commits find what was set aside once it is given back.
pub fn kept_bytes(reserve: u64) -> u64 {
    if reserve == 0 { 0 } else { bytes_of(reserve) + COMMIT_BYTES }
}

/// What is set aside on one disk.
struct Ballast {
    folder: PathBuf,
    bytes: u64,
    /// What has to be left beside it.
    reserve: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    there: bool,
    /// The file system does not know how to.
    unable: bool,
    closing: bool,
}

impl Ballast {
    fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    /// Makes sure that a commit finds room. Whoever keeps the room is not waited for unless it is needed.
    fn give_way(&self) {
        if free_bytes(&self.folder).is_some_and(|free| free < COMMIT_BYTES) {
            self.give_back(&mut self.state.lock(), COMMIT_BYTES);
        }
    }

    /// Gives the room back if less than `need` is free.
    fn give_back(&self, state: &mut State, need: u64) {
        if !state.there || free_bytes(&self.folder).is_none_or(|free| free >= need) {
            return;
        }
        match std::fs::remove_file(self.path()) {
            Ok(()) => {
                tracing::warn!(
                    mib = self.bytes >> 20,
                    "the disk is full: what was set aside for that is given back to it"
                );
                state.there = false;
            }
            Err(error) => {
                tracing::warn!(%error, "the disk is full, and {} cannot be removed", self.path().display())
            }
        }
    }

    /// Sets the room aside if the disk has it to spare.
    fn set_aside(&self, state: &mut State) {
        let spare = free_bytes(&self.folder).is_some_and(|free| free >= self.reserve + self.bytes);
        if state.there || state.unable || !spare {
            return;
        }
        match allocate(&self.path(), self.bytes) {
            Ok(()) => state.there = true,
            Err(error) => {
                state.unable = error.kind() == io::ErrorKind::Unsupported;
                tracing::debug!(%error, "no room is set aside");
                let _ = std::fs::remove_file(self.path());
            }
        }
    }

    fn keep(&self) {
        let mut state = self.state.lock();
        while !state.closing {
            self.set_aside(&mut state);
            self.changed.wait_for(&mut state, PERIOD);
        }
    }
}

fn allocate(path: &Path, bytes: u64) -> io::Result<()> {
    let file = File::create(path)?;
    Ok(rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes)?)
}

/// A storage engine whose commits find room.
pub struct Sheltered {
    below: Arc<dyn StorageEngine>,
    ballast: Arc<Ballast>,
    keeper: Option<JoinHandle<()>>,
}

impl Sheltered {
    /// Sets room aside in `folder`, on the disk that `below` is on: a quarter of `reserve`, the bytes below which writes are
    /// refused, and [`BYTES_MAX`] at most.
    pub fn new(
        below: Arc<dyn StorageEngine>,
        folder: &Path,
        reserve: u64,
    ) -> Result<Sheltered, StorageError> {
        let bytes = bytes_of(reserve);
        // Of another length if the reserve was another when it was made, and without its blocks if it is a copy.
        let whole = |found: Metadata| found.len() == bytes && found.blocks() * 512 >= bytes;
        let there = folder.join(NAME).metadata().is_ok_and(whole);
        if !there {
            give_up(folder);
        }
        let state = Mutex::new(State { there, ..State::default() });
        let ballast =
            Arc::new(Ballast { folder: folder.to_owned(), bytes, reserve, state, changed: Condvar::new() });
        let kept = ballast.clone();
        #[allow(clippy::disallowed_methods)] // it looks at a disk; simulations have none
        let keeper = std::thread::Builder::new().name("disk-ballast".into()).spawn(move || {
            background::stand_back();
            kept.keep();
        });
        let keeper =
            keeper.map_err(|error| StorageError::Io(format!("cannot start the disk's watch: {error}")))?;
        Ok(Sheltered { below, ballast, keeper: Some(keeper) })
    }
}

impl Drop for Sheltered {
    fn drop(&mut self) {
        self.ballast.state.lock().closing = true;
        self.ballast.changed.notify_all();
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

impl StorageEngine for Sheltered {
    fn view(&self) -> Box<dyn View> {
        self.below.view()
    }

    fn views_hold_commits_up(&self) -> bool {
        self.below.views_hold_commits_up()
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), StorageError> {
        self.ballast.give_way();
        self.below.commit(batch, durability)
    }

    fn is_full(&self) -> bool {
        self.below.is_full()
    }

    fn make_room(&self) {
        self.below.make_room();
    }

    fn prepare(&self, spaces: &[Space]) {
        self.below.prepare(spaces);
    }

    fn drop_space(&self, space: Space) -> Result<(), StorageError> {
        self.ballast.give_way();
        self.below.drop_space(space)
    }

    fn spaces(&self) -> Result<Vec<Space>, StorageError> {
        self.below.spaces()
    }

    fn disk_bytes(&self) -> u64 {
        self.below.disk_bytes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::storage::memory::Memory;

    #[test]
    fn room_is_set_aside_and_given_back_when_there_is_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let rows = Arc::new(Memory::open(&folder.path().join("data")).expect("opens"));
        let sheltered = Sheltered::new(rows, folder.path(), 8 << 20).expect("starts");
        let set_aside = || folder.path().join(NAME).metadata().ok().map(|found| found.len());
        let end = Instant::now() + Duration::from_secs(20);
        // Held, so that the keeper does not make it again at once.
        let mut state = loop {
            let state = sheltered.ballast.state.lock();
            if state.there {
                break state;
            }
            drop(state);
            assert!(Instant::now() < end, "nothing is set aside");
            std::thread::yield_now();
        };
        sheltered.ballast.give_back(&mut state, 0);
        assert_eq!(set_aside(), Some(2 << 20), "there is room");
        // More than any disk has.
        sheltered.ballast.give_back(&mut state, u64::MAX);
        assert_eq!((set_aside(), state.there), (None, false));
        sheltered.ballast.set_aside(&mut state);
        assert_eq!((set_aside(), state.there), (Some(2 << 20), true));
    }
}
