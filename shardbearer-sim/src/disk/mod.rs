//! The disks of one machine: a log and a storage in memory that forget what was not synced.
//!
//! [`Disk`] outlives the lives of its radiant. Each start opens [`log::SimLog`] and [`storage::SimStorage`] on it; at a crash
//! [`Disk::crash`] throws away a suffix, of random length, of what was not synced: what a loss of power leaves after
//! recovery cut off a torn tail. A [`Flaw`] makes a disk break its promises, for tests that must notice.

mod ill;
pub mod log;
pub mod points;
pub mod storage;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{LogPos, LogRecord};
use shardbearer_core::storage::Space;
use tokio::sync::Notify;

use self::ill::Turned;
use self::log::{LogState, SimLog};
use self::points::Aim;
use self::storage::{Rows, SimStorage, StorageState};
use crate::lock;
use crate::world::{Life, Universe};

/// A promise that a disk breaks on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Writes are reported durable before they are.
    AcksBeforeDurable,
    /// What engines must never forget, such as votes, is lost at every crash.
    ForgetsHardState,
    /// Now and then a row of a shard is not stored.
    LosesRows,
    /// A log that is cut loses the entry before the cut too.
    CutsTooMuch,
    /// Of the first batch that a crash takes back half stays.
    TearsBatches,
    /// Data have no checksums: a bit that turned is given back as it is.
    ChecksNothing,
}

/// What a picture of the data leaves out, see [`Disk::lie`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// The first key of every shard.
    OmitsKeys,
    /// What shards remember of the requests of sessions.
    OmitsSessions,
}

/// How long a disk takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Shortest sync, in milliseconds.
    pub sync_ms_min: u64,
    /// Longest sync, in milliseconds.
    pub sync_ms_max: u64,
    /// Every how many syncs one takes fifty times as long.
    pub stall_every: u32,
}

impl Pace {
    /// A solid state disk.
    pub const USUAL: Pace = Pace { sync_ms_min: 1, sync_ms_max: 3, stall_every: 100 };
}

/// What goes wrong with a disk at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// The next write to the log fails, or its sync does, and all after it.
    Failing,
    /// Nothing can be read.
    Unreadable,
    /// What is read is not what was written; checksums say so.
    Damaged,
    /// The next commit of data fails, and all after it; of the first it is open whether it is done.
    FailingData,
    /// Nothing more can be written, neither log nor data, until there is room: also after a start.
    NoRoom,
}

/// What a machine keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Entries of orders.
    Log,
    /// Rows.
    Data,
    /// The entry that is read next, by whoever runs.
    NextRead,
}

struct State {
    rng: StdRng,
    pace: Pace,
    trouble: Trouble,
    turned: Option<Turned>,
    /// Longest time that what waits for the data takes beyond the usual, in milliseconds.
    data_ms_max: u64,
    free_bytes: u64,
    lie: Option<Lie>,
    aim: Option<Aim>,
    log: LogState,
    storage: StorageState,
}

/// The disks of one machine.
pub struct Disk {
    universe: Arc<Universe>,
    name: String,
    flaw: Option<Flaw>,
    state: Mutex<State>,
    /// It has become faster.
    mended: Notify,
}

const PLENTY: u64 = 1 << 40;

impl Disk {
    /// Empty disks.
    pub fn new(universe: &Arc<Universe>, name: &str, flaw: Option<Flaw>) -> Arc<Disk> {
        let state = State {
            rng: universe.rng(&format!("disk of {name}")),
            pace: Pace::USUAL,
            trouble: Trouble::None,
            turned: None,
            data_ms_max: 0,
            free_bytes: PLENTY,
            lie: None,
            aim: None,
            log: LogState::default(),
            storage: StorageState::default(),
        };
        let state = Mutex::new(state);
        Arc::new(Disk {
            universe: universe.clone(),
            name: name.to_owned(),
            flaw,
            state,
            mended: Notify::new(),
        })
    }

    /// Opens the log for a life.
    pub fn open_log(self: &Arc<Self>, life: &Arc<Life>) -> Arc<SimLog> {
        SimLog::open(self.clone(), life.clone())
    }

    /// Opens the storage for a life.
    pub fn open_storage(self: &Arc<Self>, life: &Arc<Life>) -> Arc<SimStorage> {
        SimStorage::open(self.clone(), life.clone())
    }

    /// Loses what was not synced, or some of it, and mends what failed.
    pub fn crash(&self) {
        let mut state = lock(&self.state);
        let State { rng, log, storage, trouble, .. } = &mut *state;
        let (kept, lost) = log.crash(rng, self.flaw);
        let (batches_kept, batches_lost) = storage.crash(rng, self.flaw);
        if *trouble != Trouble::NoRoom {
            *trouble = Trouble::None;
        }
        state.aim = None;
        drop(state);
        if lost > 0 {
            self.universe.trace.cover("unsynced log writes lost");
        }
        if lost > 0 && kept > 0 {
            self.universe.trace.cover("log torn between unsynced writes");
        }
        if batches_lost > 0 {
            self.universe.trace.cover("applied batches lost");
        }
        self.universe.event(format_args!(
            "{}: disk keeps {kept} and loses {lost} unsynced log writes, {batches_kept} and {batches_lost} batches",
            self.name
        ));
    }

    /// Other disks, with what a loss of power now would leave on these, which stay as they are.
    pub fn fork(&self, name: &str) -> Arc<Disk> {
        let other = Disk::new(&self.universe, name, self.flaw);
        let (log, storage) = {
            let mut state = lock(&self.state);
            let State { rng, log, storage, .. } = &mut *state;
            (log.fork(rng, self.flaw), storage.fork(rng))
        };
        let mut state = lock(&other.state);
        (state.log, state.storage) = (log, storage);
        drop(state);
        other
    }

    /// Why nothing can be read at the moment, and whether bytes are damaged.
    fn unreadable(&self) -> Option<(&'static str, bool)> {
        let (why, damaged) = match lock(&self.state).trouble {
            Trouble::None | Trouble::Failing | Trouble::FailingData | Trouble::NoRoom => return None,
            Trouble::Unreadable => ("the disk cannot be read", false),
            Trouble::Damaged => ("a checksum does not match", true),
        };
        self.universe.trace.cover(if damaged { "damaged byte met" } else { "read failed" });
        Some((why, damaged))
    }

    /// Empties the disks. No life uses them now.
    pub fn wipe(&self) {
        let mut state = lock(&self.state);
        (state.log, state.storage) = (LogState::default(), StorageState::default());
        drop(state);
        self.universe.event(format_args!("{}: disk is empty", self.name));
    }

    /// Changes how long syncs take. One that hangs does so no longer than what made it hang.
    pub fn set_pace(&self, pace: Pace) {
        let before = std::mem::replace(&mut lock(&self.state).pace, pace);
        if pace.sync_ms_max < before.sync_ms_max {
            self.mended.notify_waiters();
        }
    }

    /// Takes as long as a sync.
    async fn sync_takes(&self) {
        let mended = self.mended.notified();
        let usual = tokio::time::sleep(Duration::from_millis(self.sync_ms()));
        tokio::select! {
            biased;
            () = usual => {}
            () = mended => tokio::time::sleep(Duration::from_millis(self.sync_ms())).await,
        }
    }

    /// Makes the disk full, or gives it space again.
    pub fn set_full(&self, full: bool) {
        lock(&self.state).free_bytes = if full { 0 } else { PLENTY };
    }

    /// Free bytes.
    pub fn free_bytes(&self) -> u64 {
        lock(&self.state).free_bytes
    }

    /// Makes views that are taken from now on leave something out, or be whole again.
    pub fn lie(&self, lie: Option<Lie>) {
        lock(&self.state).lie = lie;
    }

    /// Where an order's log was purged up to, and what is in it: what a loss of power leaves at least.
    pub fn durable_log_of(&self, order: OrderId) -> (LogPos, Vec<LogRecord>) {
        lock(&self.state).log.durable(order)
    }

    /// The same as whoever runs on it reads it: with what is not durable yet.
    pub fn log_of(&self, order: OrderId) -> (LogPos, Vec<LogRecord>) {
        lock(&self.state).log.live(order)
    }

    /// All that is stored of an order's data, synced or not.
    pub fn rows_of(&self, order: OrderId) -> BTreeMap<Space, Arc<Rows>> {
        let state = lock(&self.state);
        let spaces = state.storage.live();
        spaces
            .iter()
            .filter(|(space, _)| space.order() == order)
            .map(|(space, rows)| (*space, rows.clone()))
            .collect()
    }

    /// Of an order's data in its own space, what a loss of power leaves at least.
    pub fn durable_row_of(&self, order: OrderId, key: &[u8]) -> Option<Bytes> {
        lock(&self.state).storage.durable().get(&Space::Order(order))?.get(key).cloned()
    }

    fn sync_ms(&self) -> u64 {
        let mut state = lock(&self.state);
        let pace = state.pace;
        let usual = state.rng.random_range(pace.sync_ms_min..=pace.sync_ms_max);
        if state.rng.random_ratio(1, pace.stall_every) { usual * 50 } else { usual }
    }
}
