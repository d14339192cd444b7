//! A number for what a shard holds: the sum of a hash of each row, so that it is kept up to date with every write and does not
//! depend on the order of rows. It tells a copy that lost or altered a row from a true one; against somebody who looks
//! for collisions it is no protection.
//!
//! The hash multiplies 8 bytes at a time into 128 bits and folds them, as wyhash does
//! (<https://github.com/wangyi-fudan/wyhash>).

use bytes::Bytes;
use shardbearer_core::kv::Record;

const SEED: u64 = 0xa076_1d64_78bd_642f;
const STEP: u64 = 0xe703_7ed1_a0b4_28db;

/// The hash of a user's record.
pub(super) fn of_record(key: &[u8], record: &Record) -> u64 {
    let head = fold(SEED ^ record.revision, STEP ^ record.expires_at_ms.unwrap_or(0));
    bytes(bytes(head, key), &record.value)
}

/// The hash of a row as it is stored.
pub(super) fn of_row(key: &[u8], value: &Bytes) -> u64 {
    bytes(bytes(SEED, key), value)
}

/// Goes on with more bytes. Their length counts, so that a byte cannot change sides between key and value.
fn bytes(mut state: u64, bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = chunk.try_into().map_or(0, u64::from_le_bytes);
        state = fold(state ^ word, STEP);
    }
    let mut last = [0; 8];
    let rest = chunks.remainder();
    last[..rest.len()].copy_from_slice(rest);
    fold(state ^ u64::from_le_bytes(last), SEED ^ bytes.len() as u64)
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_part_of_a_row_counts() {
        let record = |value: &'static [u8], revision, expires_at_ms| Record {
            value: Bytes::from_static(value),
            revision,
            expires_at_ms,
        };
        let hashes = [
            of_record(b"k", &record(b"value", 1, None)),
            of_record(b"kv", &record(b"alue", 1, None)),
            of_record(b"k", &record(b"valuf", 1, None)),
            of_record(b"k", &record(b"value", 2, None)),
            of_record(b"k", &record(b"value", 1, Some(1))),
            of_record(b"k", &record(b"value\0", 1, None)),
            of_record(b"k", &record(b"a value of many words", 1, None)),
            of_record(b"k", &record(b"a value of meny words", 1, None)),
            of_row(b"k", &Bytes::from_static(b"value")),
        ];
        assert_eq!(BTreeSet::from(hashes).len(), hashes.len());
    }
}
