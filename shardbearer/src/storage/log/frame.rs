//! A batch on disk.
//!
//! ```text
//!   length (4) · crc32 (4) · durable (8) · body ... · padding to 8 bytes
//! ```
//!
//! The checksum covers segment number, offset, `durable` and body, so that bytes of another place or an earlier life
//! of the file are never taken for a frame. `durable` is the offset up to which the segment was known to be
//! on disk when the frame was written. That tells a torn tail from damage: frames of the group that was being synced
//! may be broken in any combination, and none was acknowledged; but a broken frame *below* the
//! `durable` of a later good one was on disk, and may have been acknowledged.
//!
//! A body is the order (8), then records: append, truncate, hard state, purge, move, remove; or the
//! one byte that closes a segment.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{LogPos, LogRecord, LogWrite};

/// Bytes before a frame's body.
pub(super) const HEAD: usize = 16;

/// Frames begin at multiples of this.
pub(super) const ALIGN: u64 = 8;

const APPEND: u8 = 1;
const TRUNCATE: u8 = 2;
const HARD: u8 = 3;
const PURGE: u8 = 4;
const MOVE: u8 = 5;
const REMOVE: u8 = 6;

/// The body that ends a segment: no order has this id.
const CLOSE: u64 = u64::MAX;
/// The body that only says what is durable.
const ATTEST: u64 = u64::MAX - 1;

/// Bytes before an appended payload, from the record's kind on.
pub(super) const APPEND_HEAD: usize = 1 + 8 + 8 + 4 + 4;

/// What a record says. Offsets are within the body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Append { position: LogPos, offset: usize, length: usize, crc: u32, moved: bool },
    Truncate { from: u64 },
    Hard(Bytes),
    Purge { upto: LogPos },
    Remove,
}

/// What a frame holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    Records(OrderId, Vec<Stored>),
    Close,
    Attest,
}

/// The body of a batch of one order.
pub(super) fn encode_body(order: OrderId, writes: &[LogWrite]) -> Bytes {
    let payloads: usize = writes
        .iter()
        .map(|write| match write {
            LogWrite::Append(record) => record.payload.len(),
            LogWrite::Hard(hard) => hard.len(),
            LogWrite::Truncate { .. } | LogWrite::Purge { .. } => 0,
        })
        .sum();
    let mut out = BytesMut::with_capacity(8 + payloads + writes.len() * APPEND_HEAD);
    out.put_u64(order.0);
    for write in writes {
        match write {
            LogWrite::Append(record) => put_append(&mut out, APPEND, record),
            LogWrite::Truncate { from } => {
                out.put_u8(TRUNCATE);
                out.put_u64(*from);
            }
            LogWrite::Hard(hard) => put_hard(&mut out, hard),
            LogWrite::Purge { upto } => put_purge(&mut out, *upto),
        }
    }
    out.freeze()
}

/// The body that writes an order's still needed records anew, as they stand in a segment that goes.
pub(super) fn encode_moved(
    order: OrderId,
    hard: Option<&Bytes>,
    purged: Option<LogPos>,
    entries: &[LogRecord],
) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u64(order.0);
    if let Some(upto) = purged {
        put_purge(&mut out, upto);
    }
    if let Some(hard) = hard {
        put_hard(&mut out, hard);
    }
    for record in entries {
        put_append(&mut out, MOVE, record);
    }
    out.freeze()
}

/// The body that forgets an order.
pub(super) fn encode_remove(order: OrderId) -> Bytes {
    let mut out = BytesMut::with_capacity(9);
    out.put_u64(order.0);
    out.put_u8(REMOVE);
    out.freeze()
}

/// The body that closes a segment.
pub(super) fn close_body() -> Bytes {
    Bytes::copy_from_slice(&CLOSE.to_be_bytes())
}

/// The body that only carries `durable`.
pub(super) fn attest_body() -> Bytes {
    Bytes::copy_from_slice(&ATTEST.to_be_bytes())
}

fn put_append(out: &mut BytesMut, kind: u8, record: &LogRecord) {
    out.put_u8(kind);
    out.put_u64(record.position.term);
    out.put_u64(record.position.index);
    out.put_u32(record.payload.len() as u32); // entries are bounded far below 4 GiB
    out.put_u32(crc32fast::hash(&record.payload));
    out.put_slice(&record.payload);
}

fn put_hard(out: &mut BytesMut, hard: &Bytes) {
    out.put_u8(HARD);
    out.put_u32(hard.len() as u32); // a vote, some dozen bytes
    out.put_slice(hard);
}

fn put_purge(out: &mut BytesMut, upto: LogPos) {
    out.put_u8(PURGE);
    out.put_u64(upto.term);
    out.put_u64(upto.index);
}

/// Bytes of a frame with a body of `length` bytes.
pub(super) fn size_on_disk(length: usize) -> u64 {
    ((HEAD + length) as u64).next_multiple_of(ALIGN)
}

/// Adds a frame to `out`, which is to be written at `offset`.
pub(super) fn put_frame(out: &mut Vec<u8>, segment: u64, offset: u64, durable: u64, body: &[u8]) {
    let size = size_on_disk(body.len()) as usize;
    let start = out.len();
    out.put_u32(body.len() as u32);
    out.put_u32(checksum(segment, offset, durable, body));
    out.put_u64(durable);
    out.put_slice(body);
    out.resize(start + size, 0);
}

fn checksum(segment: u64, offset: u64, durable: u64, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&segment.to_be_bytes());
    crc.update(&offset.to_be_bytes());
    crc.update(&durable.to_be_bytes());
    crc.update(body);
    crc.finalize()
}

/// A frame as found.
pub(super) struct Found {
    pub durable: u64,
    pub body: Bytes,
}

/// The frame at `offset` of a segment's bytes; `None` if there is no good one.
pub(super) fn read_frame(bytes: &Bytes, segment: u64, offset: u64) -> Option<Found> {
    let start = usize::try_from(offset).ok()?;
    let mut head = bytes.get(start..start.checked_add(HEAD)?)?;
    let (length, crc, durable) = (head.get_u32() as usize, head.get_u32(), head.get_u64());
    let from = start + HEAD;
    let to = from.checked_add(length)?;
    if length < 8 || to > bytes.len() {
        return None;
    }
    let body = bytes.slice(from..to);
    (checksum(segment, offset, durable, &body) == crc).then_some(Found { durable, body })
}

/// What a body says; `None` if it makes no sense although its checksum is right.
pub(super) fn decode_body(body: &Bytes) -> Option<Body> {
    let mut rest = body.clone();
    let order = match rest.try_get_u64().ok()? {
        CLOSE => return rest.is_empty().then_some(Body::Close),
        ATTEST => return rest.is_empty().then_some(Body::Attest),
        order => OrderId(order),
    };
    let mut records = Vec::new();
    while rest.has_remaining() {
        records.push(match rest.get_u8() {
            kind @ (APPEND | MOVE) => {
                let position = LogPos { term: rest.try_get_u64().ok()?, index: rest.try_get_u64().ok()? };
                let (length, crc) = (rest.try_get_u32().ok()? as usize, rest.try_get_u32().ok()?);
                let offset = body.len() - rest.len();
                if rest.remaining() < length {
                    return None;
                }
                rest.advance(length);
                Stored::Append { position, offset, length, crc, moved: kind == MOVE }
            }
            TRUNCATE => Stored::Truncate { from: rest.try_get_u64().ok()? },
            HARD => {
                let length = rest.try_get_u32().ok()? as usize;
                if rest.remaining() < length {
                    return None;
                }
                // A copy: a slice would keep the whole segment in memory.
                Stored::Hard(Bytes::copy_from_slice(&rest.split_to(length)))
            }
            PURGE => Stored::Purge {
                upto: LogPos { term: rest.try_get_u64().ok()?, index: rest.try_get_u64().ok()? },
            },
            REMOVE => Stored::Remove,
            _ => return None,
        });
    }
    Some(Body::Records(order, records))
}
