//! Log segments as they may be found after a crash; see [`crate::fuzzing`].

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{LogError, LogPos, LogRecord, LogWrite};

use super::LogOptions;
use super::frame::{self, Body};
use super::index::{Location, Payload};
use super::recover::recover;
use super::segment::{Directory, HEADER, Pace};
use crate::fuzzing::Source;

const SEGMENT: u64 = 1;
const SEGMENT_BYTES: u64 = 4 << 10;

/// Frames with any bodies, or of true batches with a damage: either is recovered or said to be damaged.
pub fn log(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    match source.below(3) {
        0 => bodies(&Bytes::copy_from_slice(source.rest())),
        1 => strange(&mut source),
        _ => damaged(&mut source),
    }
}

/// A body that is understood says the same when it is written again.
fn bodies(raw: &Bytes) {
    let Some(Body::Records(order, records)) = frame::decode_body(raw) else { return };
    let writes: Option<Vec<LogWrite>> = records
        .iter()
        .map(|record| match record {
            frame::Stored::Append { position, offset, length, moved: false, .. } => {
                let payload = raw.slice(*offset..offset + length);
                Some(LogWrite::Append(LogRecord { position: *position, payload }))
            }
            frame::Stored::Truncate { from } => Some(LogWrite::Truncate { from: *from }),
            frame::Stored::Hard(hard) => Some(LogWrite::Hard(hard.clone())),
            frame::Stored::Purge { upto } => Some(LogWrite::Purge { upto: *upto }),
            frame::Stored::Append { .. } | frame::Stored::Remove => None,
        })
        .collect();
    if let Some(writes) = writes {
        let written = frame::encode_body(order, &writes);
        assert_eq!(written.len(), raw.len(), "as long as it was");
        assert_eq!(
            frame::decode_body(&written).map(without_crc),
            Some(without_crc(Body::Records(order, records)))
        );
    }
}

/// The checksum that stood beside a payload may have been wrong.
fn without_crc(body: Body) -> Body {
    let Body::Records(order, mut records) = body else { return body };
    for record in &mut records {
        if let frame::Stored::Append { crc, .. } = record {
            *crc = 0;
        }
    }
    Body::Records(order, records)
}

/// Frames whose checksums are right and whose bodies nobody wrote.
fn strange(source: &mut Source<'_>) {
    let folder = Folder::new();
    let mut raw = Vec::new();
    while !source.is_empty() && raw.len() < 2 << 10 {
        let mut body = BytesMut::from(&u64::from(source.below(3)).to_be_bytes()[..]);
        body.extend_from_slice(&source.bytes());
        let offset = HEADER + raw.len() as u64;
        frame::put_frame(&mut raw, SEGMENT, offset, HEADER, &body);
    }
    folder.write(&raw);
    let found = folder.recovered();
    assert_eq!(folder.recovered(), found, "a second start finds something else");
}

/// What an order's log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    purged: LogPos,
    hard: Option<Bytes>,
    entries: Vec<(LogPos, Bytes)>,
}

type State = BTreeMap<OrderId, Held>;

impl Held {
    fn last(&self) -> u64 {
        self.entries.last().map_or(self.purged.index, |(position, _)| position.index)
    }

    /// A write that keeps the contract, carried out.
    fn next(&mut self, source: &mut Source<'_>) -> LogWrite {
        let (purged, last) = (self.purged.index, self.last());
        match source.below(8) {
            0 => {
                let hard = source.bytes();
                self.hard = Some(hard.clone());
                LogWrite::Hard(hard)
            }
            1 if last > purged => {
                let from = purged + 1 + u64::from(source.byte()) % (last - purged);
                self.entries.retain(|(position, _)| position.index < from);
                LogWrite::Truncate { from }
            }
            2 if last > purged => {
                let upto = self.entries[usize::from(source.byte()) % self.entries.len()].0;
                self.purged = upto;
                self.entries.retain(|(position, _)| position.index > upto.index);
                LogWrite::Purge { upto }
            }
            3 => {
                // An image was installed beyond the log's end.
                let upto = LogPos { term: source.number(), index: last + 1 + u64::from(source.below(9)) };
                self.purged = upto;
                self.entries.clear();
                LogWrite::Purge { upto }
            }
            _ => {
                let position = LogPos { term: source.number(), index: last + 1 };
                let payload = source.bytes();
                self.entries.push((position, payload.clone()));
                LogWrite::Append(LogRecord { position, payload })
            }
        }
    }
}

/// Batches as the writer puts them on disk, then one byte is changed or all from it on is lost. What is recovered is what
/// stood before the damage, and nothing is recovered if what is damaged was on disk before.
fn damaged(source: &mut Source<'_>) {
    let (change, at) = (source.byte(), usize::from(source.byte()) << 8 | usize::from(source.byte()));
    let (mut raw, mut state) = (Vec::new(), State::new());
    let mut durable = HEADER;
    // Of each frame: where it begins and its body ends, what was known durable, and what holds before it.
    let mut frames: Vec<(usize, usize, u64, State)> = Vec::new();
    while !source.is_empty() && raw.len() < 2 << 10 {
        let (start, before) = (raw.len(), state.clone());
        if source.flag() {
            durable = HEADER + start as u64;
        }
        let order = OrderId(source.below(3).into());
        let body = if source.below(16) == 0 {
            state.remove(&order);
            frame::encode_remove(order)
        } else {
            let held = state.entry(order).or_default();
            let writes: Vec<LogWrite> = (0..=source.below(3)).map(|_| held.next(source)).collect();
            frame::encode_body(order, &writes)
        };
        frame::put_frame(&mut raw, SEGMENT, HEADER + start as u64, durable, &body);
        frames.push((start, start + frame::HEAD + body.len(), durable, before));
    }
    let Some(at) = at.checked_rem(raw.len()) else { return };
    let cut = change == 0;
    if cut {
        raw[at..].fill(0);
    } else {
        raw[at] ^= change;
    }
    let folder = Folder::new();
    folder.write(&raw);
    let found = folder.recovered();
    let broken = frames.iter().position(|(start, end, ..)| (*start..*end).contains(&at));
    // Zeros may have been zeros before, so a cut may damage nothing of the frame it begins in.
    let expect = match broken {
        None => Some(state.clone()),
        Some(broken) => {
            let (start, _, _, before) = &frames[broken];
            let offset = HEADER + *start as u64;
            let attested = !cut && frames[broken + 1..].iter().any(|(_, _, durable, _)| *durable > offset);
            (!attested).then(|| before.clone())
        }
    };
    let later = frames.iter().filter(|(start, ..)| cut && *start > at).map(|(.., before)| before).next();
    let untouched = later.unwrap_or(&state);
    match (&found, &expect) {
        (Err(LogError::Corrupt { .. }), None) => {}
        (Ok(found), Some(expect)) => {
            assert!(found == expect || cut && found == untouched, "{found:?} instead of {expect:?}");
        }
        _ => panic!("{found:?} instead of {expect:?}"),
    }
    assert_eq!(folder.recovered(), found, "a second start finds something else");
}

/// A log of one segment, in memory where the machine has such a place.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> Folder {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("shardbearer-fuzz-{}-{number}", std::process::id()));
        Folder { path }
    }

    /// Makes a segment with these frames.
    fn write(&self, raw: &[u8]) {
        let directory = Directory::open(&self.path).expect("a folder of its own");
        let prepared =
            directory.prepare("first", SEGMENT_BYTES.max(HEADER + raw.len() as u64 + 64), || Pace::Hurry);
        let segment = directory.adopt(prepared.expect("there is room"), SEGMENT).expect("there is room");
        segment.file.write_all_at(raw, HEADER).expect("there is room");
    }

    /// What a start finds.
    fn recovered(&self) -> Result<State, LogError> {
        let directory = Directory::open(&self.path)?;
        let options = LogOptions { segment_bytes: SEGMENT_BYTES, ..LogOptions::default() };
        let recovered = recover(&directory, &options)?;
        let mut state = State::new();
        for (order, log) in recovered.orders {
            let bounds = log.bounds();
            assert!(bounds.purged.index <= bounds.last.index, "{bounds:?}");
            let places = log.places(bounds.purged.index + 1..bounds.last.index + 1, usize::MAX);
            let entry = |payload: Payload| -> Result<Bytes, LogError> {
                match payload {
                    Payload::Cached(payload) => Ok(payload),
                    Payload::Stored(location @ Location { .. }) => directory.read(&location),
                }
            };
            let entries = places.into_iter().map(|place| Ok((place.position, entry(place.payload)?)));
            let entries = entries.collect::<Result<Vec<_>, LogError>>()?;
            state.insert(order, Held { purged: bounds.purged, hard: bounds.hard, entries });
        }
        Ok(state)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is the system's to clean up.
        let _ = fs::remove_dir_all(&self.path);
    }
}
