//! What an order keeps of each shard.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use shardbearer_core::ids::Epoch;
use shardbearer_core::kv::Standing;

/// The layout's version: the second came with migrations.
const VERSION: u8 = 2;

/// What an order knows of a shard it owns or owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardMeta {
    /// How the order stands to it.
    pub standing: Standing,
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
    /// Sum over the rows, see `shard/digest.rs`.
    pub digest: u64,
    /// The last migration that it took part in here.
    pub migration: Epoch,
    /// The last note of a changed row, of that migration.
    pub noted: u64,
    /// The notes up to this one are gone: the destination has what they say.
    pub forgotten: u64,
    /// Whether notes were lost because there were too many.
    pub lost: bool,
}

impl ShardMeta {
    /// A shard without rows.
    pub fn empty(standing: Standing, generation: u64) -> ShardMeta {
        ShardMeta {
            standing,
            epoch: Epoch::NONE,
            generation,
            revision: 0,
            rows: 0,
            bytes: 0,
            time_ms: 0,
            forgot: false,
            digest: 0,
            migration: Epoch::NONE,
            noted: 0,
            forgotten: 0,
            lost: false,
        }
    }
}

/// A shard's meta as a row.
pub fn encode_meta(meta: &ShardMeta) -> Bytes {
    let mut out = BytesMut::with_capacity(META_BYTES);
    out.put_u8(VERSION);
    out.put_u8(match meta.standing {
        Standing::Absent => 0,
        Standing::Serving => 1,
        Standing::Leaving => 2,
        Standing::Frozen => 3,
        Standing::Arriving => 4,
        Standing::Verified => 5,
        Standing::Gone => 6,
    });
    out.put_u8(meta.forgot.into());
    out.put_u8(meta.lost.into());
    for number in [meta.epoch.0, meta.generation, meta.revision, meta.rows, meta.bytes, meta.time_ms] {
        out.put_u64(number);
    }
    for number in [meta.digest, meta.migration.0, meta.noted, meta.forgotten] {
        out.put_u64(number);
    }
    out.freeze()
}

const META_BYTES: usize = 4 + 10 * 8;

/// The inverse of [`encode_meta`].
pub fn decode_meta(row: &[u8]) -> Option<ShardMeta> {
    let mut row = row;
    if row.len() != META_BYTES || row.get_u8() != VERSION {
        return None;
    }
    let standing = match row.get_u8() {
        1 => Standing::Serving,
        2 => Standing::Leaving,
        3 => Standing::Frozen,
        4 => Standing::Arriving,
        5 => Standing::Verified,
        6 => Standing::Gone,
        _ => return None,
    };
    let (forgot, lost) = (row.get_u8() != 0, row.get_u8() != 0);
    Some(ShardMeta {
        standing,
        forgot,
        lost,
        epoch: Epoch(row.get_u64()),
        generation: row.get_u64(),
        revision: row.get_u64(),
        rows: row.get_u64(),
        bytes: row.get_u64(),
        time_ms: row.get_u64(),
        digest: row.get_u64(),
        migration: Epoch(row.get_u64()),
        noted: row.get_u64(),
        forgotten: row.get_u64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meta_comes_back_and_rubbish_is_none() {
        let meta = ShardMeta {
            standing: Standing::Frozen,
            epoch: Epoch(1),
            generation: 2,
            revision: 3,
            rows: 4,
            bytes: 5,
            time_ms: 6,
            forgot: true,
            digest: 7,
            migration: Epoch(8),
            noted: 9,
            forgotten: 10,
            lost: true,
        };
        assert_eq!(decode_meta(&encode_meta(&meta)), Some(meta));
        assert_eq!(decode_meta(&[0; META_BYTES]), None);
    }
}
