//! The thread that writes: one write and one fdatasync for everything that was queued.
//!
//! Any error of a write or an fsync poisons the store: what the kernel then has of the file is
//! unknown, so it is never tried again. A full disk shows earlier and harmlessly, when the next segment is prepared; any
//! other error there poisons too.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use shardbearer_core::log::{LogDone, LogError, LogRecord};

use super::Shared;
use super::frame::{self, Body, Stored};
use super::index::{Location, Payload};
use super::prepare::{self, FULL_PAUSE};
use super::segment::{Active, HEADER, Pace, Prepared, Usage};

/// After so much quiet the last group is attested, see [`frame`].
const QUIET: Duration = Duration::from_millis(20);

/// How long a switch waits for the prepared segment before it makes one itself.
const SPARE_WAIT: Duration = Duration::from_secs(10);

/// So much of the memory in which groups are put together is kept for the next.
const BUFFER_BYTES: usize = 1 << 20;

/// A batch that waits.
pub(super) struct Queued {
    pub body: Bytes,
    /// Which appends its entries are, in their order.
    pub serials: Vec<u64>,
    pub done: Option<LogDone>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    active: Active,
    /// Where the next frame goes; everything before it is durable between two groups.
    end: u64,
    /// The end of the last frame whose durability a later frame says.
    attested: u64,
    /// Where groups are put together, empty between two.
    buffer: Vec<u8>,
    spare: Option<Prepared>,
    preparing: Receiver<Prepared>,
    wanted: Option<SyncSender<()>>,
    /// Whether one was asked for that has not come.
    asked: bool,
    preparer: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the writer, and the helper that prepares segments.
    pub(super) fn start(shared: Arc<Shared>, active: Active, end: u64) -> Result<JoinHandle<()>, LogError> {
        let (wanted, asked) = sync_channel::<()>(1);
        let (ready, preparing) = sync_channel(1);
        let for_preparer = shared.clone();
        let preparer = spawn("log-preparer", move || prepare::prepare_all(&for_preparer, &asked, &ready))?;
        let mut writer = Writer {
            shared,
            active,
            end,
            attested: end,
            buffer: Vec::new(),
            spare: None,
            preparing,
            wanted: Some(wanted),
            asked: false,
            preparer: Some(preparer),
        };
        writer.ask();
        writer.publish_room();
        spawn("log-writer", move || writer.run())
    }

    fn run(&mut self) {
        while let Some(mut group) = self.next_group() {
            if let Err(error) = self.write_group(&mut group).and_then(|()| self.clean()) {
                self.poison(&error, group);
                break;
            }
            self.publish_room();
        }
        // Either ends the preparer, wherever it is.
        self.wanted = None;
        self.preparing = sync_channel(1).1;
        if let Some(preparer) = self.preparer.take() {
            let _ = preparer.join();
        }
    }

    /// Waits for something to write; `None` when the store closes and nothing waits.
    fn next_group(&mut self) -> Option<Vec<Queued>> {
        loop {
            let shared = self.shared.clone();
            let mut state = shared.state.lock();
            if state.poisoned.is_some() {
                drop(state);
                self.refuse(Vec::new()); // the preparer found the disk broken
                return None;
            }
            if !state.queue.is_empty() {
                state.queue_bytes = 0;
                return Some(std::mem::take(&mut state.queue));
            }
            if state.closing {
                drop(state);
                if let Err(error) = self.attest() {
                    self.poison(&error, Vec::new());
                }
                return None;
            }
            let quiet = if self.attested < self.end || self.spare.is_none() { QUIET } else { FULL_PAUSE };
            let timed_out = shared.arrived.wait_for(&mut state, quiet).timed_out();
            drop(state);
            if timed_out {
                if let Err(error) = self.attest() {
                    self.poison(&error, Vec::new());
                    return None;
                }
                self.take_spare();
            }
        }
    }

    fn take_spare(&mut self) {
        if self.spare.is_none()
            && let Ok(prepared) = self.preparing.try_recv()
        {
            (self.spare, self.asked) = (Some(prepared), false);
            self.publish_room();
        }
    }

    /// Asks for a spare if there is none, nor one on its way. Never for a second one: it would only lie about.
    fn ask(&mut self) {
        if let Some(wanted) = &self.wanted
            && self.spare.is_none()
            && !self.asked
        {
            self.asked = wanted.try_send(()).is_ok();
        }
    }

    /// Says how much can certainly be placed: what is left here, and in the spare.
    fn publish_room(&mut self) {
        // What closes a segment must fit too.
        let reserve = 2 * frame::size_on_disk(8);
        let here = self.active.bytes.saturating_sub(self.end + reserve);
        let there = self.spare.as_ref().map_or(0, |spare| spare.bytes - HEADER - reserve);
        let mut state = self.shared.state.lock();
        let queued: u64 = state.queue.iter().map(|queued| frame::size_on_disk(queued.body.len())).sum();
        // The larger of the two, not the sum: a frame does not straddle segments.
        state.room = here.max(there).saturating_sub(queued);
    }

    /// Writes, syncs, tells everybody. On an error nobody has been told anything.
    fn write_group(&mut self, group: &mut [Queued]) -> std::io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut begin = self.end;
        let mut placed = Vec::with_capacity(group.len());
        for queued in group.iter() {
            let size = frame::size_on_disk(queued.body.len());
            let closing = frame::size_on_disk(8);
            if self.end + size + closing > self.active.bytes {
                self.flush(&mut buffer, begin)?;
                self.switch(size + closing)?;
                begin = self.end;
            }
            frame::put_frame(&mut buffer, self.active.number, self.end, begin, &queued.body);
            placed.push((self.active.number, self.end));
            self.end += size;
        }
        self.flush(&mut buffer, begin)?;
        buffer.shrink_to(BUFFER_BYTES);
        self.buffer = buffer;
        self.note(group, &placed);
        for queued in group {
            if let Some(done) = queued.done.take() {
                done(Ok(()));
            }
        }
        self.take_spare();
        Ok(())
    }

    fn flush(&mut self, buffer: &mut Vec<u8>, begin: u64) -> std::io::Result<()> {
        if buffer.is_empty() {
            return Ok(());
        }
        self.active.file.write_all_at(buffer, begin)?;
        self.active.file.sync_data()?;
        // The frames of this group say that everything before `begin` is durable.
        self.attested = begin;
        buffer.clear();
        Ok(())
    }

    /// Writes a frame that says that the last group is durable, so that damage to it can be told from a torn tail.
    fn attest(&mut self) -> std::io::Result<()> {
        let size = frame::size_on_disk(8);
        if self.attested >= self.end || self.end + 2 * size > self.active.bytes {
            return Ok(());
        }
        let mut buffer = Vec::new();
        frame::put_frame(&mut buffer, self.active.number, self.end, self.end, &frame::attest_body());
        self.active.file.write_all_at(&buffer, self.end)?;
        self.active.file.sync_data()?;
        self.end += size;
        self.attested = self.end;
        self.publish_room();
        Ok(())
    }

    /// Closes the segment in use and goes on in the next.
    fn switch(&mut self, need: u64) -> std::io::Result<()> {
        let mut buffer = Vec::new();
        frame::put_frame(&mut buffer, self.active.number, self.end, self.end, &frame::close_body());
        self.active.file.write_all_at(&buffer, self.end)?;
        self.active.file.sync_data()?;
        self.take_spare();
        if self.spare.is_none() {
            // It was asked for when the last one was taken, so it is on its way.
            self.spare = self.preparing.recv_timeout(SPARE_WAIT).ok();
            self.asked &= self.spare.is_none();
        }
        let spare = match self.spare.take() {
            Some(spare) if spare.bytes >= need + HEADER => spare,
            // Not to be had, or the batch is larger than a whole segment.
            unfit => {
                self.spare = unfit;
                let bytes = self.shared.options.segment_bytes.max(need + HEADER);
                self.shared.directory.prepare("large", bytes, || Pace::Hurry)?
            }
        };
        let number = self.active.number + 1;
        self.active = self.shared.directory.adopt(spare, number)?;
        self.end = HEADER;
        self.attested = HEADER;
        let usage = Usage { live: 0, file_bytes: self.active.bytes };
        self.shared.state.lock().segments.insert(number, usage);
        self.ask();
        Ok(())
    }

    /// Enters the places of what was written into the index.
    fn note(&self, group: &[Queued], placed: &[(u64, u64)]) {
        let mut state = self.shared.state.lock();
        let super::State { orders, cache, segments, .. } = &mut *state;
        for (queued, (segment, offset)) in group.iter().zip(placed) {
            // Our own encoding, just made.
            let Some(Body::Records(order, records)) = frame::decode_body(&queued.body) else { continue };
            let Some(log) = orders.get_mut(&order) else { continue };
            let mut serials = queued.serials.iter();
            for record in records {
                match record {
                    Stored::Append { position, offset: within, length, crc, .. } => {
                        let location = Location {
                            segment: *segment,
                            offset: offset + frame::HEAD as u64 + within as u64,
                            length: length as u32,
                            crc,
                        };
                        // One for each entry of the body.
                        let Some(serial) = serials.next() else { continue };
                        log.stored(position.index, *serial, location, segments);
                    }
                    // Newer ones may already be queued; the last to be written is the last here.
                    Stored::Hard(hard) if log.hard.value.as_ref() == Some(&hard) => {
                        log.set_hard(hard, Some(*segment), segments);
                    }
                    Stored::Purge { upto } if log.purged.value == upto => {
                        log.purge(upto, Some(*segment), segments);
                    }
                    Stored::Hard(_) | Stored::Purge { .. } | Stored::Truncate { .. } | Stored::Remove => {}
                }
            }
        }
        cache.shrink(orders);
    }

    /// Gives back the oldest segments while little of them is needed; that little is written anew first.
    fn clean(&mut self) -> std::io::Result<()> {
        while let Some((number, mut group)) = self.oldest_to_go()? {
            if let Err(error) = self.write_group(&mut group) {
                self.poison(&error, group);
                return Err(error);
            }
            self.shared.directory.remove(number)?;
            self.shared.state.lock().segments.remove(&number);
        }
        Ok(())
    }

    /// The oldest segment, if it may go, and what must be on disk before: everything queued, then what is
    /// still needed of it. The two are taken under one lock and written in this order, so that the disk
    /// then says what the index says now; otherwise a crash could find entries gone of which no purge is on disk.
    fn oldest_to_go(&mut self) -> std::io::Result<Option<(u64, Vec<Queued>)>> {
        let mut needed = Vec::new();
        let (number, mut group) = {
            let mut state = self.shared.state.lock();
            let Some((number, usage)) = state.segments.first_key_value().map(|(n, usage)| (*n, *usage))
            else {
                return Ok(None);
            };
            if number == self.active.number || usage.live > usage.file_bytes / 4 {
                return Ok(None);
            }
            for (order, log) in &state.orders {
                let hard = log.hard.value.clone().filter(|_| log.hard.segment == Some(number));
                let purged = Some(log.purged.value).filter(|_| log.purged.segment == Some(number));
                let places = log.places_in(number);
                if hard.is_some() || purged.is_some() || !places.is_empty() {
                    needed.push((*order, hard, purged, places));
                }
            }
            state.queue_bytes = 0;
            (number, std::mem::take(&mut state.queue))
        };
        for (order, hard, purged, places) in needed {
            let mut entries = Vec::with_capacity(places.len());
            let serials = places.iter().map(|place| place.serial).collect();
            for place in places {
                let payload = match place.payload {
                    Payload::Cached(payload) => payload,
                    Payload::Stored(location) => match self.shared.directory.read(&location) {
                        Ok(payload) => payload,
                        Err(error) => {
                            let error = std::io::Error::other(error.to_string());
                            self.poison(&error, group);
                            return Err(error);
                        }
                    },
                };
                entries.push(LogRecord { position: place.position, payload });
            }
            let body = frame::encode_moved(order, hard.as_ref(), purged, &entries);
            group.push(Queued { body, serials, done: None });
        }
        Ok(Some((number, group)))
    }

    /// Stops the store for good and tells everybody who waits.
    fn poison(&mut self, error: &std::io::Error, group: Vec<Queued>) {
        let why = format!("segment {:016x}: {error}", self.active.number);
        self.shared.state.lock().poisoned.get_or_insert(why);
        self.refuse(group);
    }

    /// Tells everybody who waits that the store is poisoned.
    fn refuse(&mut self, group: Vec<Queued>) {
        let (why, waiting) = {
            let mut state = self.shared.state.lock();
            let Some(why) = state.poisoned.clone() else { return };
            (why, std::mem::take(&mut state.queue))
        };
        for queued in group.into_iter().chain(waiting) {
            if let Some(done) = queued.done {
                done(Err(LogError::Poisoned(why.clone())));
            }
        }
    }
}

#[allow(clippy::disallowed_methods)] // the log writer waits for disks all its life; simulations have a log without it
fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LogError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| LogError::Io(format!("cannot start the thread {name}: {error}")))
}
