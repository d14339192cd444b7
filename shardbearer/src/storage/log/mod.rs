//! The durable log of a radiant: one sequence of segment files for all its orders, one fsync for
//! everybody who waits.
//!
//! ```text
//!   write(order, ..) ──▶ index (readable at once) ──▶ queue ──▶ writer thread: one write, one fdatasync ──▶ done()
//! ```
//!
//! - [`frame`]: how a batch looks on disk, and how a torn tail is told from damage
//! - [`segment`]: files: zero-filled ahead of need, because a growing file pays for its metadata at every fsync
//! - [`index`]: what each order's log holds, and the payloads still in memory
//! - [`writer`]: the thread that writes, syncs, switches segments and gives old ones back
//! - [`recover`]: reading it all again
//!
//! Disk use: a segment goes when it is the oldest and at most a quarter of it is still needed; that
//! quarter is written anew at the end. So the files hold at most about four times what orders keep,
//! plus two segments, as long as orders compact (which they do by [`LogStore::held_bytes`]).

mod frame;
pub(crate) mod fuzz;
mod index;
mod prepare;
mod recover;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{Bounds, LogDone, LogError, LogRecord, LogStore, LogWrite};

use self::index::{Cache, OrderLog};
use self::segment::Directory;
use self::writer::Queued;

/// Knobs of the log.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Bytes of a segment file.
    pub segment_bytes: u64,
    /// Bytes of payloads kept in memory for followers that are not far behind.
    pub cache_bytes: usize,
    /// Bytes that may wait for the writer before it refuses more.
    pub queue_bytes_max: usize,
    /// Bytes of the disk that are left to others: no segment is made ready out of them.
    pub keep_free_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            segment_bytes: 64 << 20,
            cache_bytes: 64 << 20,
            queue_bytes_max: 256 << 20,
            keep_free_bytes: 0,
        }
    }
}

/// What all callers and the writer share.
struct Shared {
    state: Mutex<State>,
    /// Something was queued, or the store closes.
    arrived: Condvar,
    options: LogOptions,
    directory: Directory,
}

struct State {
    orders: BTreeMap<OrderId, OrderLog>,
    cache: Cache,
    queue: Vec<Queued>,
    queue_bytes: usize,
    /// Entries appended since the start.
    appended: u64,
    /// Live bytes of each segment on disk, by number.
    segments: BTreeMap<u64, segment::Usage>,
    /// Bytes the writer can certainly place: the rest of the segment in use and the prepared one.
    room: u64,
    /// Preparing the next segment failed, and is tried again.
    disk_full: bool,
    poisoned: Option<String>,
    closing: bool,
}

/// The log of all orders of one radiant.
pub struct SegmentedLog {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl SegmentedLog {
    /// Opens or creates the log in `dir`; reads all of it, verifies it, cuts off a torn tail.
    pub fn open(dir: &Path, options: LogOptions) -> Result<Arc<SegmentedLog>, LogError> {
        let directory = Directory::open(dir)?;
        let recovered = recover::recover(&directory, &options)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                orders: recovered.orders,
                cache: Cache::new(options.cache_bytes),
                queue: Vec::new(),
                queue_bytes: 0,
                appended: 0,
                segments: recovered.segments,
                room: 0,
                disk_full: false,
                poisoned: None,
                closing: false,
            }),
            arrived: Condvar::new(),
            options,
            directory,
        });
        let writer = writer::Writer::start(shared.clone(), recovered.active, recovered.end)?;
        Ok(Arc::new(SegmentedLog { shared, writer: Mutex::new(Some(writer)) }))
    }

    /// Writes what waits and stops the writer. Later writes are refused. Idempotent.
    pub fn close(&self) {
        self.shared.state.lock().closing = true;
        self.shared.arrived.notify_all();
        if let Some(writer) = self.writer.lock().take() {
            // A writer that panicked has already been reported by the panic hook.
            let _ = writer.join();
            self.shared.directory.unlock();
        }
    }

    /// The folder.
    pub fn folder(&self) -> PathBuf {
        self.shared.directory.path().to_owned()
    }
}

impl Drop for SegmentedLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl LogStore for SegmentedLog {
    fn write(&self, order: OrderId, writes: Vec<LogWrite>, done: LogDone) -> Result<(), LogError> {
        let body = frame::encode_body(order, &writes);
        let mut state = self.shared.state.lock();
        state.admit(&self.shared.options, body.len())?;
        let log = state.orders.entry(order).or_default();
        log.check(&writes)?;
        let State { orders, cache, segments, appended, .. } = &mut *state;
        let appends = writes.iter().filter(|write| matches!(write, LogWrite::Append(_))).count() as u64;
        let serials = *appended + 1..*appended + 1 + appends;
        *appended += appends;
        // The entry was made some lines above.
        let log = orders.entry(order).or_default();
        log.apply(order, &writes, serials.start, cache, segments);
        state.queue_bytes += body.len();
        state.room = state.room.saturating_sub(frame::size_on_disk(body.len()));
        state.queue.push(Queued { body, serials: serials.collect(), done: Some(done) });
        drop(state);
        self.shared.arrived.notify_one();
        Ok(())
    }

    fn entries(
        &self,
        order: OrderId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        let places = {
            let state = self.shared.state.lock();
            let Some(log) = state.orders.get(&order) else { return Ok(Vec::new()) };
            log.places(range, bytes_max)
        };
        // Old payloads are read outside the lock. A segment given back meanwhile means that the order
        // purged them just now: then the caller's range has become shorter.
        let mut records = Vec::with_capacity(places.len());
        for place in places {
            let payload = match place.payload {
                index::Payload::Cached(payload) => payload,
                index::Payload::Stored(location) => match self.shared.directory.read(&location) {
                    Ok(payload) => payload,
                    Err(error) => match self.again(order, place.position.index) {
                        Some(location) => self.shared.directory.read(&location)?,
                        None if self.bounds(order).purged.index >= place.position.index => {
                            return Ok(Vec::new());
                        }
                        None => return Err(error),
                    },
                },
            };
            records.push(LogRecord { position: place.position, payload });
        }
        Ok(records)
    }

    fn bounds(&self, order: OrderId) -> Bounds {
        self.shared.state.lock().orders.get(&order).map(OrderLog::bounds).unwrap_or_default()
    }

    fn orders(&self) -> Vec<OrderId> {
        self.shared.state.lock().orders.keys().copied().collect()
    }

    fn remove(&self, order: OrderId) -> Result<(), LogError> {
        let body = frame::encode_remove(order);
        let mut state = self.shared.state.lock();
        state.admit(&self.shared.options, body.len())?;
        let State { orders, segments, .. } = &mut *state;
        if let Some(log) = orders.remove(&order) {
            log.release(segments);
        }
        state.queue_bytes += body.len();
        let (done, durable) = std::sync::mpsc::sync_channel(1);
        let done: LogDone = Box::new(move |outcome| drop(done.send(outcome)));
        state.queue.push(Queued { body, serials: Vec::new(), done: Some(done) });
        drop(state);
        self.shared.arrived.notify_one();
        durable.recv().unwrap_or_else(|_| Err(LogError::Io("the log closed".into())))
    }

    fn disk_bytes(&self) -> u64 {
        self.shared.state.lock().segments.values().map(|usage| usage.file_bytes).sum()
    }

    fn held_bytes(&self, order: OrderId) -> u64 {
        self.shared.state.lock().orders.get(&order).map_or(0, OrderLog::live_bytes)
    }
}

impl SegmentedLog {
    /// Where an entry is now, if it was moved since its place was looked up.
    fn again(&self, order: OrderId, index: u64) -> Option<index::Location> {
        let state = self.shared.state.lock();
        let place = state.orders.get(&order)?.places(index..index + 1, 0).pop()?;
        match place.payload {
            index::Payload::Stored(location) => Some(location),
            index::Payload::Cached(_) => None,
        }
    }
}

impl State {
    /// Whether a batch of so many bytes may be queued.
    fn admit(&self, options: &LogOptions, bytes: usize) -> Result<(), LogError> {
        if let Some(why) = &self.poisoned {
            return Err(LogError::Poisoned(why.clone()));
        }
        if self.closing {
            return Err(LogError::Poisoned("the log is closed".into()));
        }
        if self.queue_bytes + bytes > options.queue_bytes_max {
            return Err(LogError::Full(format!("{} bytes wait for the disk", self.queue_bytes)));
        }
        if self.disk_full && frame::size_on_disk(bytes) > self.room {
            return Err(LogError::Full("no space for another log segment".into()));
        }
        Ok(())
    }
}
