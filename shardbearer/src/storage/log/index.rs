//! What each order's log holds, in memory.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{Bounds, LogError, LogPos, LogWrite};

use super::segment::Usage;

/// Where a payload stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub segment: u64,
    pub offset: u64,
    pub length: u32,
    pub crc: u32,
}

/// An entry: cached, stored, or both. Never neither.
struct Slot {
    term: u64,
    /// Which append this is, of all since the start: an entry that was truncated and one that has taken its
    /// place may have the same position. 0 for those that were there at the start.
    serial: u64,
    cached: Option<Bytes>,
    stored: Option<Location>,
}

impl Slot {
    fn bytes(&self) -> u64 {
        let stored = self.stored.map_or(0, |location| u64::from(location.length));
        self.cached.as_ref().map_or(stored, |payload| payload.len() as u64)
    }
}

/// A hard state or purge marker with the segment it was last written to, if it was yet.
#[derive(Default)]
pub(super) struct Kept<T> {
    pub value: T,
    pub segment: Option<u64>,
}

/// One order's log.
#[derive(Default)]
pub(super) struct OrderLog {
    pub hard: Kept<Option<Bytes>>,
    pub purged: Kept<LogPos>,
    /// The entries after `purged`, without a gap.
    slots: VecDeque<Slot>,
    live_bytes: u64,
}

/// A payload in memory, or where to read it.
pub(super) enum Payload {
    Cached(Bytes),
    Stored(Location),
}

/// An entry that was asked for.
pub(super) struct Place {
    pub position: LogPos,
    pub serial: u64,
    pub payload: Payload,
}

impl Place {
    pub(super) fn bytes(&self) -> u64 {
        match &self.payload {
            Payload::Cached(payload) => payload.len() as u64,
            Payload::Stored(location) => u64::from(location.length),
        }
    }
}

impl OrderLog {
    pub(super) fn bounds(&self) -> Bounds {
        let purged = self.purged.value;
        let last = match self.slots.back() {
            Some(slot) => LogPos { term: slot.term, index: purged.index + self.slots.len() as u64 },
            None => purged,
        };
        Bounds { purged, last, hard: self.hard.value.clone() }
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    fn last_index(&self) -> u64 {
        self.purged.value.index + self.slots.len() as u64
    }

    fn slot(&mut self, index: u64) -> Option<&mut Slot> {
        let position = index.checked_sub(self.purged.value.index + 1)?;
        self.slots.get_mut(usize::try_from(position).ok()?)
    }

    /// Whether a batch keeps the contract.
    pub(super) fn check(&self, writes: &[LogWrite]) -> Result<(), LogError> {
        let (mut purged, mut last) = (self.purged.value.index, self.last_index());
        for write in writes {
            match write {
                LogWrite::Append(record) if record.position.index == last + 1 => last += 1,
                LogWrite::Append(record) => {
                    return Err(LogError::Misuse(format!("entry {} after {last}", record.position.index)));
                }
                LogWrite::Truncate { from } if *from <= purged => {
                    return Err(LogError::Misuse(format!(
                        "truncated from {from}, but purged up to {purged}"
                    )));
                }
                LogWrite::Truncate { from } => last = last.min(from - 1),
                LogWrite::Purge { upto } => {
                    purged = purged.max(upto.index);
                    last = last.max(purged);
                }
                LogWrite::Hard(_) => {}
            }
        }
        Ok(())
    }

    /// Carries a checked batch out; payloads stay cached until they are stored. Appends are numbered from
    /// `serial` on.
    pub(super) fn apply(
        &mut self,
        order: OrderId,
        writes: &[LogWrite],
        mut serial: u64,
        cache: &mut Cache,
        segments: &mut BTreeMap<u64, Usage>,
    ) {
        for write in writes {
            match write {
                LogWrite::Append(record) => {
                    cache.added(order, record.position, record.payload.len());
                    self.push(record.position.term, serial, Some(record.payload.clone()), None);
                    serial += 1;
                }
                LogWrite::Truncate { from } => self.truncate(*from, segments),
                LogWrite::Hard(hard) => self.set_hard(hard.clone(), None, segments),
                LogWrite::Purge { upto } => self.purge(*upto, None, segments),
            }
        }
    }

    fn push(&mut self, term: u64, serial: u64, cached: Option<Bytes>, stored: Option<Location>) {
        let slot = Slot { term, serial, cached, stored };
        self.live_bytes += slot.bytes();
        self.slots.push_back(slot);
    }

    pub(super) fn truncate(&mut self, from: u64, segments: &mut BTreeMap<u64, Usage>) {
        while self.last_index() >= from.max(self.purged.value.index + 1) {
            let Some(slot) = self.slots.pop_back() else { break };
            self.forget(&slot, segments);
        }
    }

    pub(super) fn set_hard(
        &mut self,
        hard: Bytes,
        segment: Option<u64>,
        segments: &mut BTreeMap<u64, Usage>,
    ) {
        if let Some(usage) = self.hard.segment.and_then(|old| segments.get_mut(&old)) {
            usage.live -= self.hard.value.as_ref().map_or(0, |old| old.len() as u64);
        }
        if let Some(usage) = segment.and_then(|new| segments.get_mut(&new)) {
            usage.live += hard.len() as u64;
        }
        self.hard = Kept { value: Some(hard), segment };
    }

    pub(super) fn purge(&mut self, upto: LogPos, segment: Option<u64>, segments: &mut BTreeMap<u64, Usage>) {
        if upto.index < self.purged.value.index || (upto == self.purged.value && segment.is_none()) {
            return;
        }
        let gone = upto.index - self.purged.value.index;
        for _ in 0..gone {
            let Some(slot) = self.slots.pop_front() else { break };
            self.forget(&slot, segments);
        }
        self.purged = Kept { value: upto, segment };
    }

    fn forget(&mut self, slot: &Slot, segments: &mut BTreeMap<u64, Usage>) {
        self.live_bytes -= slot.bytes();
        if let Some(usage) = slot.stored.and_then(|location| segments.get_mut(&location.segment)) {
            usage.live -= slot.bytes();
        }
    }

    /// Gives back everything, for an order that is removed.
    pub(super) fn release(mut self, segments: &mut BTreeMap<u64, Usage>) {
        self.truncate(0, segments);
        self.set_hard(Bytes::new(), None, segments);
    }

    /// Notes where an entry now stands on disk, unless another has taken its place since it was queued.
    pub(super) fn stored(
        &mut self,
        index: u64,
        serial: u64,
        location: Location,
        segments: &mut BTreeMap<u64, Usage>,
    ) {
        let Some(slot) = self.slot(index).filter(|slot| slot.serial == serial) else { return };
        if let Some(before) = slot.stored.replace(location)
            && let Some(usage) = segments.get_mut(&before.segment)
        {
            usage.live -= u64::from(before.length);
        }
        if let Some(usage) = segments.get_mut(&location.segment) {
            usage.live += u64::from(location.length);
        }
    }

    /// Drops a cached payload that can be read from disk. Returns whether it could.
    pub(super) fn uncache(&mut self, position: LogPos) -> bool {
        match self.slot(position.index) {
            Some(slot) if slot.term == position.term && slot.cached.is_some() => {
                if slot.stored.is_some() {
                    slot.cached = None;
                }
                slot.cached.is_none()
            }
            Some(_) | None => true,
        }
    }

    /// The entries of a range, cut after `bytes_max`.
    pub(super) fn places(&self, range: Range<u64>, bytes_max: usize) -> Vec<Place> {
        let first = self.purged.value.index + 1;
        let mut places = Vec::new();
        // A range that begins in the purged part has nothing to give: there must be no gap.
        if range.start < first {
            return places;
        }
        let mut bytes = 0;
        for index in range {
            let Some(slot) = usize::try_from(index - first).ok().and_then(|at| self.slots.get(at)) else {
                break;
            };
            bytes += slot.bytes() as usize;
            if bytes > bytes_max && !places.is_empty() {
                break;
            }
            let payload = match (&slot.cached, slot.stored) {
                (Some(payload), _) => Payload::Cached(payload.clone()),
                (None, Some(location)) => Payload::Stored(location),
                (None, None) => break,
            };
            let position = LogPos { term: slot.term, index };
            places.push(Place { position, serial: slot.serial, payload });
        }
        places
    }

    /// The entries that stand in a segment.
    pub(super) fn places_in(&self, segment: u64) -> Vec<Place> {
        let first = self.purged.value.index + 1;
        let within = |(index, slot): (u64, &Slot)| {
            let location = slot.stored.filter(|location| location.segment == segment)?;
            let payload = slot.cached.clone().map_or(Payload::Stored(location), Payload::Cached);
            Some(Place { position: LogPos { term: slot.term, index }, serial: slot.serial, payload })
        };
        (first..).zip(&self.slots).filter_map(within).collect()
    }

    /// During recovery: an entry whose place among its neighbours is not settled yet.
    pub(super) fn rebuild(&mut self, entries: BTreeMap<u64, (u64, Location)>) -> Result<(), u64> {
        for (index, (term, location)) in entries {
            if index != self.last_index() + 1 {
                return Err(self.last_index() + 1);
            }
            self.push(term, 0, None, Some(location));
        }
        Ok(())
    }
}

/// Which payloads are in memory, oldest first.
pub(super) struct Cache {
    bytes_max: usize,
    bytes: usize,
    entries: VecDeque<(OrderId, LogPos, usize)>,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Cache { bytes_max, bytes: 0, entries: VecDeque::new() }
    }

    fn added(&mut self, order: OrderId, position: LogPos, bytes: usize) {
        self.bytes += bytes;
        self.entries.push_back((order, position, bytes));
    }

    /// Drops the oldest payloads beyond the bound, as far as they are on disk.
    pub(super) fn shrink(&mut self, orders: &mut BTreeMap<OrderId, OrderLog>) {
        while self.bytes > self.bytes_max {
            let Some((order, position, bytes)) = self.entries.front().copied() else { break };
            if !orders.get_mut(&order).is_none_or(|log| log.uncache(position)) {
                break; // not on disk yet, so neither is anything younger
            }
            self.entries.pop_front();
            self.bytes -= bytes;
        }
    }
}
