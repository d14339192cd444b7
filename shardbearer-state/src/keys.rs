//! Every replicated row of the store: its key, its layout, who changes it and how long it lives.
//!
//! | space | key | row | lifetime |
//! |---|---|---|---|
//! | order | `10` shard (8) | [`ShardMeta`] | from adoption on; stays as a tombstone when the shard leaves |
//! | order | `11` shard (8) | how far the shard's rows have arrived | while the shard arrives |
//! | control order | `20` | the topology in force | replaced by each epoch |
//! | control order | `21` epoch (8) | who, why, what, and the topology | for ever |
//! | control order | `22` | the last migration | replaced by each of its changes |
//! | control order | `23` shard (8) epoch (8) | a migration of that shard, begun in that epoch | for ever |
//! | order | `ff` ... | the applier's own: position, engine's note, install in progress | see `order/applier.rs` |
//! | shard | `01` key | [`Record`] | until deleted or expired |
//! | shard | `02` expiry (8) key | empty; finds what expires next | as long as the record has that expiry |
//! | shard | `03` session (16) | last use, floor, remembered replies: see `shard/session.rs` | until forgotten for lack of use |
//! | shard | `04` migration (8) note (8) | key of a row that changed | until the destination has the row |
//!
//! Numbers are big-endian, so that keys sort by them. Every row begins with a format version.
//! Decoding is total: bytes that make no sense are `None`, never a panic.

mod cut;
mod meta;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use shardbearer_core::ids::{Epoch, SessionId, ShardId};
use shardbearer_core::kv::{Progress, Record};
use shardbearer_core::storage::KeyRange;

pub use self::cut::{Cut, Stage};
pub use self::meta::{ShardMeta, decode_meta, encode_meta};

const VERSION: u8 = 1;

const DATA: u8 = 0x01;
const EXPIRY: u8 = 0x02;
const SESSION: u8 = 0x03;
const NOTE: u8 = 0x04;
const SHARD: u8 = 0x10;
const ARRIVAL: u8 = 0x11;
const TOPOLOGY: u8 = 0x20;
const EPOCH: u8 = 0x21;
const MIGRATION: u8 = 0x22;
const MOVED: u8 = 0x23;

/// The key of a shard's [`ShardMeta`].
pub fn shard_meta(shard: ShardId) -> Bytes {
    tagged(SHARD, &shard.0.to_be_bytes())
}

/// All [`shard_meta`] keys.
pub fn shard_metas() -> KeyRange {
    KeyRange::prefix(&[SHARD])
}

/// The shard that a [`shard_meta`] key is of.
pub fn shard_of_meta(key: &[u8]) -> Option<ShardId> {
    Some(ShardId(u64::from_be_bytes(key.strip_prefix(&[SHARD])?.try_into().ok()?)))
}

/// The key of a shard's arrival.
pub fn arrival(shard: ShardId) -> Bytes {
    tagged(ARRIVAL, &shard.0.to_be_bytes())
}

/// The key of the last migration's record.
pub fn migration() -> Bytes {
    Bytes::from_static(&[MIGRATION])
}

/// The key of a migration in the history of a shard.
pub fn moved(shard: ShardId, id: Epoch) -> Bytes {
    tagged(MOVED, &[shard.0.to_be_bytes(), id.0.to_be_bytes()].concat())
}

/// All [`moved`] keys of a shard, oldest first.
pub fn moves_of(shard: ShardId) -> KeyRange {
    KeyRange::prefix(&tagged(MOVED, &shard.0.to_be_bytes()))
}

/// The key of a note of a changed row.
pub fn note(migration: Epoch, number: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(17);
    out.put_u8(NOTE);
    out.put_u64(migration.0);
    out.put_u64(number);
    out.freeze()
}

/// The [`note`] keys of a migration behind one note, in order.
pub fn notes_after(migration: Epoch, number: u64) -> KeyRange {
    let end = note(Epoch(migration.0.saturating_add(1)), 0).to_vec();
    KeyRange { start: note(migration, number.saturating_add(1)).to_vec(), end: Some(end) }
}

/// The [`note`] keys up to and with one note, those of earlier migrations included.
pub fn notes_through(migration: Epoch, number: u64) -> KeyRange {
    KeyRange { start: vec![NOTE], end: Some(note(migration, number.saturating_add(1)).to_vec()) }
}

/// The number in a [`note`] key.
pub fn note_number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(&[NOTE])?.get(8..)?.try_into().ok()?))
}

/// The rows of a shard that a migration carries behind a row key (empty: from the first): records, and then sessions.
/// What is derived from them is not carried.
pub fn carried_after(key: &[u8]) -> [KeyRange; 2] {
    // The smallest key behind another is that with a zero byte added.
    let behind = |tag: u8| KeyRange {
        start: [key, &[0]].concat().max(vec![tag]),
        end: Some([key, &[0]].concat().max(vec![tag + 1])),
    };
    [behind(DATA), behind(SESSION)]
}

/// What a row of a shard is, by its key.
pub enum Carried {
    /// A record, and the user's key.
    Record(Bytes),
    /// A session.
    Session,
}

/// What a carried row is; `None` if such a row is not carried.
pub fn carried(key: &Bytes) -> Option<Carried> {
    match key.first() {
        Some(&DATA) => Some(Carried::Record(user_key(key))),
        Some(&SESSION) => session_of(key).map(|_| Carried::Session),
        Some(_) | None => None,
    }
}

/// The key of the topology in force.
pub fn topology() -> Bytes {
    Bytes::from_static(&[TOPOLOGY])
}

/// The key of an epoch's record.
pub fn epoch(epoch: Epoch) -> Bytes {
    tagged(EPOCH, &epoch.0.to_be_bytes())
}

/// All [`epoch`] keys, in order.
pub fn epochs() -> KeyRange {
    KeyRange::prefix(&[EPOCH])
}

/// The key of a user's record.
pub fn data(key: &[u8]) -> Bytes {
    tagged(DATA, key)
}

/// The keys of all user records from `start` (inclusive) to `end` (exclusive; empty: to the last).
pub fn data_range(start: &[u8], end: &[u8]) -> KeyRange {
    let end = if end.is_empty() { vec![DATA + 1] } else { tagged(DATA, end).to_vec() };
    KeyRange { start: tagged(DATA, start).to_vec(), end: Some(end) }
}

/// The user's key in a [`data`] key.
pub fn user_key(key: &Bytes) -> Bytes {
    key.slice(1.min(key.len())..)
}

/// The key that finds a record by its expiry.
pub fn expiry(at_ms: u64, key: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(9 + key.len());
    out.put_u8(EXPIRY);
    out.put_u64(at_ms);
    out.put_slice(key);
    out.freeze()
}

/// The [`expiry`] keys of what expires from `from_ms` to `to_ms`, both inclusive, soonest first.
pub fn expiry_range(from_ms: u64, to_ms: u64) -> KeyRange {
    let end = match to_ms.checked_add(1) {
        Some(after) => expiry(after, b"").to_vec(),
        None => vec![EXPIRY + 1],
    };
    KeyRange { start: expiry(from_ms, b"").to_vec(), end: Some(end) }
}

/// Time and user's key in an [`expiry`] key.
pub fn expiry_parts(key: &Bytes) -> Option<(u64, Bytes)> {
    let rest = key.strip_prefix(&[EXPIRY])?;
    let at_ms = u64::from_be_bytes(rest.get(..8)?.try_into().ok()?);
    Some((at_ms, key.slice(9..)))
}

/// The key of a session's row.
pub fn session(session: SessionId) -> Bytes {
    tagged(SESSION, &session.to_bytes())
}

/// All [`session`] keys.
pub fn sessions() -> KeyRange {
    KeyRange::prefix(&[SESSION])
}

/// The session in a [`session`] key.
pub fn session_of(key: &[u8]) -> Option<SessionId> {
    SessionId::from_bytes(key.strip_prefix(&[SESSION])?)
}

fn tagged(tag: u8, rest: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + rest.len());
    out.put_u8(tag);
    out.put_slice(rest);
    out.freeze()
}

/// A user's record as a row: version, revision (8), expiry or 0 (8), value.
pub fn encode_record(record: &Record) -> Bytes {
    let mut out = BytesMut::with_capacity(17 + record.value.len());
    out.put_u8(VERSION);
    out.put_u64(record.revision);
    out.put_u64(record.expires_at_ms.unwrap_or(0));
    out.put_slice(&record.value);
    out.freeze()
}

/// The inverse of [`encode_record`]; the value is a slice of the row.
pub fn decode_record(row: &Bytes) -> Option<Record> {
    let mut head = row.get(..17)?;
    if head.get_u8() != VERSION {
        return None;
    }
    let revision = head.get_u64();
    let expires_at_ms = Some(head.get_u64()).filter(|at| *at != 0);
    Some(Record { value: row.slice(17..), revision, expires_at_ms })
}

/// How far a shard has arrived, as a row: version, completeness, last note (8), last row key.
pub fn encode_arrival(progress: &Progress) -> Bytes {
    let mut out = BytesMut::with_capacity(10 + progress.image.len());
    out.put_u8(VERSION);
    out.put_u8(progress.complete.into());
    out.put_u64(progress.through);
    out.put_slice(&progress.image);
    out.freeze()
}

/// The inverse of [`encode_arrival`].
pub fn decode_arrival(row: &Bytes) -> Option<Progress> {
    let mut head = row.get(..10)?;
    if head.get_u8() != VERSION {
        return None;
    }
    let complete = head.get_u8() != 0;
    Some(Progress { complete, through: head.get_u64(), image: row.slice(10..) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_keys_sort_by_time_then_key() {
        assert!(expiry(5, b"z") < expiry(6, b"a"));
        assert_eq!(expiry_parts(&expiry(7, b"k")), Some((7, Bytes::from_static(b"k"))));
        let all = expiry_range(0, u64::MAX);
        assert!(expiry(u64::MAX, b"k").as_ref() < all.end.expect("bounded").as_slice());
    }

    #[test]
    fn what_is_carried_comes_in_parts() {
        let covers = |after: &[u8], key: &[u8]| {
            let within = |range: &KeyRange| {
                range.start.as_slice() <= key && range.end.as_deref().is_some_and(|end| key < end)
            };
            carried_after(after).iter().filter(|range| within(range)).count()
        };
        let (record, other) = (data(b"k"), data(b"k\0"));
        let row = session(SessionId(7));
        assert_eq!((covers(b"", &record), covers(b"", &row)), (1, 1));
        assert_eq!(covers(b"", &expiry(1, b"k")) + covers(b"", &note(Epoch(1), 1)), 0, "these are derived");
        assert_eq!((covers(&record, &record), covers(&record, &other), covers(&record, &row)), (0, 1, 1));
        assert_eq!(
            (covers(&row, &record), covers(&row, &row), covers(&row, &session(SessionId(8)))),
            (0, 0, 1)
        );
    }

    #[test]
    fn rows_round_trip_and_rubbish_is_none() {
        let record = Record { value: Bytes::from_static(b"v"), revision: 9, expires_at_ms: Some(3) };
        assert_eq!(decode_record(&encode_record(&record)), Some(record));
        assert_eq!(decode_record(&Bytes::from_static(b"short")), None);
        let progress = Progress { image: Bytes::from_static(b"k"), complete: true, through: 3 };
        assert_eq!(decode_arrival(&encode_arrival(&progress)), Some(progress));
        assert_eq!(decode_arrival(&Bytes::from_static(b"short")), None);
    }
}
