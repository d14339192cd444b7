//! Reading a log again after a start: every frame is verified, a torn tail is cut off, anything
//! else that is broken is damage and stops the start with file and offset.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::LogError;

use super::LogOptions;
use super::frame::{self, Body, Found, Stored};
use super::index::{Location, OrderLog};
use super::segment::{self, Active, Directory, HEADER, Pace, Usage, at};

/// A log as found.
pub(super) struct Recovered {
    pub orders: BTreeMap<OrderId, OrderLog>,
    pub segments: BTreeMap<u64, Usage>,
    /// The segment to go on with, and from where.
    pub active: Active,
    pub end: u64,
}

/// An order while its entries are gathered: moved ones come after those they stood before.
#[derive(Default)]
struct Gathered {
    log: OrderLog,
    entries: BTreeMap<u64, (u64, Location)>,
}

pub(super) fn recover(directory: &Directory, options: &LogOptions) -> Result<Recovered, LogError> {
    let numbers = directory.list()?;
    let mut gathered: BTreeMap<OrderId, Gathered> = BTreeMap::new();
    let mut segments: BTreeMap<u64, Usage> = BTreeMap::new();
    let mut active = None;
    for (position, number) in numbers.iter().copied().enumerate() {
        let path = directory.name(number);
        if position > 0 && number != numbers[position - 1] + 1 {
            return Err(segment::corrupt(&path, 0, "the segment before this one is missing"));
        }
        let bytes = directory.load(number)?;
        segments.insert(number, Usage { live: 0, file_bytes: bytes.len() as u64 });
        let last = position + 1 == numbers.len();
        let end = read_segment(directory, number, &bytes, last, &mut gathered, &mut segments)?;
        if let Some(end) = end {
            active = Some((directory.reopen(number, bytes.len() as u64)?, end));
        }
    }
    let mut orders = BTreeMap::new();
    for (order, mut one) in gathered {
        one.log.rebuild(std::mem::take(&mut one.entries)).map_err(|missing| LogError::Corrupt {
            file: directory.path().display().to_string(),
            offset: 0,
            what: format!("entry {missing} of order {order} is missing"),
        })?;
        orders.insert(order, one.log);
    }
    account(&orders, &mut segments);
    let (active, end) = match active {
        Some(found) => found,
        None => {
            let number = numbers.last().map_or(1, |last| last + 1);
            let bytes = options.segment_bytes;
            let created = directory
                .prepare("first", bytes, || Pace::Hurry)
                .and_then(|prepared| directory.adopt(prepared, number));
            let created = created.map_err(|error| at(&directory.name(number), &error))?;
            segments.insert(number, Usage { live: 0, file_bytes: bytes });
            (created, HEADER)
        }
    };
    Ok(Recovered { orders, segments, active, end })
}

/// Reads a segment's frames. Returns where to go on writing, if it is not closed.
fn read_segment(
    directory: &Directory,
    number: u64,
    bytes: &Bytes,
    last: bool,
    gathered: &mut BTreeMap<OrderId, Gathered>,
    segments: &mut BTreeMap<u64, Usage>,
) -> Result<Option<u64>, LogError> {
    let path = directory.name(number);
    let (mut offset, mut durable) = (HEADER, 0);
    loop {
        let Some(found) = frame::read_frame(bytes, number, offset) else {
            if !last {
                return Err(segment::corrupt(&path, offset, "a frame is broken"));
            }
            cut_tail(directory, number, bytes, offset)?;
            settle(directory, number, bytes, durable..offset)?;
            return Ok(Some(offset));
        };
        let Found { body, durable: before } = found;
        durable = before;
        let start = offset + frame::HEAD as u64;
        match frame::decode_body(&body) {
            None => return Err(segment::corrupt(&path, offset, "a frame of an unknown version")),
            Some(Body::Close) => {
                if last {
                    settle(directory, number, bytes, durable..offset + frame::size_on_disk(body.len()))?;
                }
                return Ok(None);
            }
            Some(Body::Attest) => {}
            Some(Body::Records(order, records)) => {
                for record in records {
                    if record == Stored::Remove {
                        gathered.remove(&order).unwrap_or_default().log.release(segments);
                    } else {
                        replay(gathered.entry(order).or_default(), record, number, start, segments);
                    }
                }
            }
        }
        offset += frame::size_on_disk(body.len());
    }
}

fn replay(one: &mut Gathered, record: Stored, segment: u64, start: u64, segments: &mut BTreeMap<u64, Usage>) {
    match record {
        Stored::Append { position, offset, length, crc, moved: _ } => {
            let location = Location { segment, offset: start + offset as u64, length: length as u32, crc };
            if position.index > one.log.purged.value.index {
                one.entries.insert(position.index, (position.term, location));
            }
        }
        Stored::Truncate { from } => drop(one.entries.split_off(&from)),
        Stored::Hard(hard) => one.log.set_hard(hard, Some(segment), segments),
        Stored::Purge { upto } => {
            one.entries = one.entries.split_off(&(upto.index + 1));
            one.log.purge(upto, Some(segment), segments);
        }
        Stored::Remove => {} // the whole order has gone before this is asked
    }
}

/// Decides whether what begins at `offset` is the torn tail of the last group, and wipes it if so.
fn cut_tail(directory: &Directory, number: u64, bytes: &Bytes, offset: u64) -> Result<(), LogError> {
    let path = directory.name(number);
    let mut later = offset + frame::ALIGN;
    while later < bytes.len() as u64 {
        match frame::read_frame(bytes, number, later) {
            Some(found) if found.durable > offset => {
                return Err(segment::corrupt(&path, offset, "a frame that was on disk is broken"));
            }
            Some(found) => later += frame::size_on_disk(found.body.len()),
            None => later += frame::ALIGN,
        }
    }
    // Wiped, so that nothing of it can ever be taken for a frame behind what is written next.
    let tail = &bytes[offset as usize..];
    let Some(length) = tail.iter().rposition(|byte| *byte != 0) else { return Ok(()) };
    let active = directory.reopen(number, bytes.len() as u64)?;
    let wiped = active.file.write_all_at(&vec![0; length + 1], offset).and_then(|()| active.file.sync_all());
    wiped.map_err(|error| at(&path, &error))
}

/// Makes sure that what was read is on disk. The end of it may be in the system's memory only: written, and the process
/// ended before the fsync, or the fsync failed, after which the system takes pages for clean that are on no disk. As
/// soon as it is read here others count on it, so it is written anew and fsynced. So is the name of the segment.
fn settle(directory: &Directory, number: u64, bytes: &Bytes, doubtful: Range<u64>) -> Result<(), LogError> {
    let path = directory.name(number);
    let from = doubtful.start.min(doubtful.end);
    let tail = bytes.get(from as usize..doubtful.end as usize).unwrap_or_default();
    let active = directory.reopen(number, bytes.len() as u64)?;
    let settled = active.file.write_all_at(tail, from).and_then(|()| active.file.sync_all());
    settled.and_then(|()| directory.sync()).map_err(|error| at(&path, &error))
}

/// Counts what of each segment is still needed. Hard states were counted as they were read.
fn account(orders: &BTreeMap<OrderId, OrderLog>, segments: &mut BTreeMap<u64, Usage>) {
    for (number, usage) in segments {
        for log in orders.values() {
            usage.live += log.places_in(*number).iter().map(|place| place.bytes()).sum::<u64>();
        }
    }
}
