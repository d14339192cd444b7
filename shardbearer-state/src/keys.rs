//! Every replicated row of the store: its key, its layout, who changes it and how long it lives.
//!
//! | space | key | row | lifetime |
//! |---|---|---|---|
//! | order | `10` shard (8) | [`ShardMeta`] | from adoption on; stays as a tombstone when the shard leaves |
//! | control order | `20` | the topology in force | replaced by each epoch |
//! | control order | `21` epoch (8) | who, why, what, and the topology | for ever |
//! | order | `ff` ... | the applier's own: position, engine's note, install in progress | see `order/applier.rs` |
//! | shard | `01` key | [`Record`] | until deleted or expired |
//! | shard | `02` expiry (8) key | empty; finds what expires next | as long as the record has that expiry |
//! | shard | `03` session (16) | last use, floor, remembered replies: see `shard/session.rs` | until forgotten for lack of use |
//!
//! Numbers are big-endian, so that keys sort by them. Every row begins with a format version.
//! Decoding is total: bytes that make no sense are `None`, never a panic.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use shardbearer_core::ids::{Epoch, SessionId, ShardId};
use shardbearer_core::kv::Record;
use shardbearer_core::storage::KeyRange;

const VERSION: u8 = 1;

const DATA: u8 = 0x01;
const EXPIRY: u8 = 0x02;
const SESSION: u8 = 0x03;
const SHARD: u8 = 0x10;
const TOPOLOGY: u8 = 0x20;
const EPOCH: u8 = 0x21;

/// What an order knows of a shard it owns or owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardMeta {
    /// Whether the order serves it.
    pub serving: bool,
    /// The configuration under which it arrived or left.
    pub epoch: Epoch,
    /// Which of the shard's spaces holds its rows.
    pub generation: u64,
    /// The last revision given to any key; never goes back.
    pub revision: u64,
    /// Rows stored.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// The shard's time in Unix milliseconds: the latest of any entry applied; never goes back.
    pub time_ms: u64,
    /// Whether any session was ever forgotten.
    pub forgot: bool,
}

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

/// A shard's meta as a row.
pub fn encode_meta(meta: &ShardMeta) -> Bytes {
    let mut out = BytesMut::with_capacity(51);
    out.put_u8(VERSION);
    out.put_u8(meta.serving.into());
    out.put_u8(meta.forgot.into());
    for number in [meta.epoch.0, meta.generation, meta.revision, meta.rows, meta.bytes, meta.time_ms] {
        out.put_u64(number);
    }
    out.freeze()
}

/// The inverse of [`encode_meta`].
pub fn decode_meta(row: &[u8]) -> Option<ShardMeta> {
    let mut row = row;
    if row.len() != 51 || row.get_u8() != VERSION {
        return None;
    }
    let (serving, forgot) = (row.get_u8() != 0, row.get_u8() != 0);
    Some(ShardMeta {
        serving,
        forgot,
        epoch: Epoch(row.get_u64()),
        generation: row.get_u64(),
        revision: row.get_u64(),
        rows: row.get_u64(),
        bytes: row.get_u64(),
        time_ms: row.get_u64(),
    })
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
    fn rows_round_trip_and_rubbish_is_none() {
        let record = Record { value: Bytes::from_static(b"v"), revision: 9, expires_at_ms: Some(3) };
        assert_eq!(decode_record(&encode_record(&record)), Some(record));
        let meta = ShardMeta {
            serving: true,
            epoch: Epoch(1),
            generation: 2,
            revision: 3,
            rows: 4,
            bytes: 5,
            time_ms: 6,
            forgot: true,
        };
        assert_eq!(decode_meta(&encode_meta(&meta)), Some(meta));
        assert_eq!(decode_record(&Bytes::from_static(b"short")), None);
        assert_eq!(decode_meta(&[0; 51]), None);
    }
}
