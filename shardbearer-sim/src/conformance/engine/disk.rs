//! The kit's log: a disk that is slow to sync, and of which a crash leaves what was synced, and by chance the next few of
//! the batches that were not.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{Bounds, LogDone, LogError, LogPos, LogRecord, LogStore, LogWrite};

/// How long one sync takes: longer than a frame to another member and back, so that who does not wait for it is
/// ahead of it.
const SYNC: Duration = Duration::from_millis(8);

/// What a member has written; outlives it.
pub struct Disk {
    state: Mutex<State>,
    syncs: AtomicU64,
}

struct State {
    live: BTreeMap<OrderId, Log>,
    durable: BTreeMap<OrderId, Log>,
    waiting: Vec<Batch>,
    syncing: bool,
    rng: StdRng,
}

struct Batch {
    order: OrderId,
    writes: Vec<LogWrite>,
    done: LogDone,
}

#[derive(Clone, Default)]
struct Log {
    purged: LogPos,
    entries: Vec<LogRecord>,
    hard: Option<Bytes>,
}

impl Log {
    fn last(&self) -> LogPos {
        self.entries.last().map_or(self.purged, |record| record.position)
    }

    fn write(&mut self, write: LogWrite) -> Result<(), LogError> {
        match write {
            LogWrite::Append(record) => {
                if record.position.index != self.last().index + 1 {
                    return Err(LogError::Misuse(format!("{:?} after {:?}", record.position, self.last())));
                }
                self.entries.push(record);
            }
            LogWrite::Truncate { from } => self.entries.retain(|record| record.position.index < from),
            LogWrite::Hard(hard) => self.hard = Some(hard),
            LogWrite::Purge { upto } if upto.index <= self.purged.index => {}
            LogWrite::Purge { upto } => {
                self.entries.retain(|record| record.position.index > upto.index);
                self.purged = upto;
            }
        }
        Ok(())
    }
}

impl Disk {
    /// An empty one.
    pub fn new(seed: u64) -> Arc<Disk> {
        Arc::new(Disk {
            state: Mutex::new(State {
                live: BTreeMap::new(),
                durable: BTreeMap::new(),
                waiting: Vec::new(),
                syncing: false,
                rng: StdRng::seed_from_u64(seed),
            }),
            syncs: AtomicU64::new(0),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nobody panicked")
    }

    /// Syncs so far.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Entries of an order.
    pub fn held(&self, order: OrderId) -> u64 {
        self.state().live.get(&order).map_or(0, |log| log.entries.len() as u64)
    }

    /// The last index purged of an order.
    pub fn purged(&self, order: OrderId) -> u64 {
        self.state().live.get(&order).map_or(0, |log| log.purged.index)
    }

    /// The power fails. Who still holds a handle writes into the void.
    pub fn crash(&self) {
        let mut state = self.state();
        let waiting = std::mem::take(&mut state.waiting);
        // Batches reach the disk in order, so some prefix of them may have made it; mostly none.
        let some = state.rng.random_ratio(1, 4);
        let lucky = if some { state.rng.random_range(0..=waiting.len()) } else { 0 };
        for batch in waiting.into_iter().take(lucky) {
            state.make_durable(batch.order, batch.writes);
        }
        state.live = state.durable.clone();
    }

    /// The log as a member sees it until `alive` is false.
    pub fn mount(self: &Arc<Disk>, alive: Arc<AtomicBool>) -> Arc<dyn LogStore> {
        Arc::new(Mounted { disk: self.clone(), alive })
    }

    /// Syncs for as long as something waits.
    async fn sync(self: Arc<Disk>) {
        loop {
            tokio::time::sleep(SYNC).await;
            let batches = {
                let mut state = self.state();
                if state.waiting.is_empty() {
                    state.syncing = false;
                    return;
                }
                let batches = std::mem::take(&mut state.waiting);
                for batch in &batches {
                    state.make_durable(batch.order, batch.writes.clone());
                }
                batches
            };
            self.syncs.fetch_add(1, Ordering::Relaxed);
            batches.into_iter().for_each(|batch| (batch.done)(Ok(())));
        }
    }
}

impl State {
    fn make_durable(&mut self, order: OrderId, writes: Vec<LogWrite>) {
        let log = self.durable.entry(order).or_default();
        for write in writes {
            log.write(write).expect("it was accepted once already");
        }
    }
}

/// A member's handle.
struct Mounted {
    disk: Arc<Disk>,
    alive: Arc<AtomicBool>,
}

impl LogStore for Mounted {
    fn write(&self, order: OrderId, writes: Vec<LogWrite>, done: LogDone) -> Result<(), LogError> {
        if !self.alive.load(Ordering::Acquire) {
            return Err(LogError::Poisoned("the power failed".into()));
        }
        let mut state = self.disk.state();
        let mut log = state.live.get(&order).cloned().unwrap_or_default();
        for write in &writes {
            log.write(write.clone())?;
        }
        state.live.insert(order, log);
        state.waiting.push(Batch { order, writes, done });
        if !std::mem::replace(&mut state.syncing, true) {
            tokio::spawn(self.disk.clone().sync());
        }
        Ok(())
    }

    fn entries(
        &self,
        order: OrderId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        let state = self.disk.state();
        let Some(log) = state.live.get(&order) else { return Ok(Vec::new()) };
        if range.start <= log.purged.index {
            return Ok(Vec::new());
        }
        let (mut found, mut bytes) = (Vec::new(), 0);
        for record in log.entries.iter().filter(|record| range.contains(&record.position.index)) {
            bytes += record.payload.len();
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(record.clone());
        }
        Ok(found)
    }

    fn bounds(&self, order: OrderId) -> Bounds {
        let log = self.disk.state().live.get(&order).cloned().unwrap_or_default();
        Bounds { purged: log.purged, last: log.last(), hard: log.hard }
    }

    fn orders(&self) -> Vec<OrderId> {
        self.disk.state().live.keys().copied().collect()
    }

    fn remove(&self, order: OrderId) -> Result<(), LogError> {
        let mut state = self.disk.state();
        state.live.remove(&order);
        state.durable.remove(&order);
        state.waiting.retain(|batch| batch.order != order);
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        self.orders().into_iter().map(|order| self.held_of(order)).sum()
    }

    fn held_bytes(&self, order: OrderId) -> u64 {
        self.held_of(order)
    }
}

impl Mounted {
    fn held_of(&self, order: OrderId) -> u64 {
        let state = self.disk.state();
        let entries = state.live.get(&order).map(|log| &log.entries);
        entries.into_iter().flatten().map(|record| record.payload.len() as u64).sum()
    }
}
