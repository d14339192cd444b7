//! What an order keeps of each shard.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use shardbearer_core::ids::Epoch;
use shardbearer_core::kv::Standing;

use super::cut::{Cut, Stage};

/// The layout's version: the second came with migrations.
const VERSION: u8 = 2;

/// Of a shard that is or was split. Written only then, so that replicas of an older program write the same bytes until
/// somebody asks for what they do not know.
const VERSION_WITH_CUT: u8 = 3;

/// What an order knows of a shard it owns or owned.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// What is given to another shard, or was.
    pub cut: Cut,
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
            cut: Cut::default(),
        }
    }
}

/// A shard's meta as a row.
pub fn encode_meta(meta: &ShardMeta) -> Bytes {
    let cut = &meta.cut;
    let is_cut = *cut != Cut::default();
    let more = if is_cut { CUT_BYTES + cut.cursor.len() } else { 0 };
    let mut out = BytesMut::with_capacity(META_BYTES + more);
    out.put_u8(if is_cut { VERSION_WITH_CUT } else { VERSION });
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
    if is_cut {
        out.put_u16(cut.from);
        out.put_u16(cut.until);
        out.put_u16(cut.at);
        out.put_u8(match cut.stage {
            Stage::Whole => 0,
            Stage::Weighing => 1,
            Stage::Weighed => 2,
            Stage::Pruning { counted: false } => 3,
            Stage::Pruning { counted: true } => 4,
        });
        [cut.rows, cut.bytes, cut.digest].into_iter().for_each(|number| out.put_u64(number));
        out.put_slice(&cut.cursor);
    }
    out.freeze()
}

const META_BYTES: usize = 4 + 10 * 8;

/// Without the cursor.
const CUT_BYTES: usize = 7 + 3 * 8;

/// The inverse of [`encode_meta`].
pub fn decode_meta(row: &[u8]) -> Option<ShardMeta> {
    let mut row = row;
    let is_cut = match (row.first()?, row.len()) {
        (&VERSION, META_BYTES) => false,
        (&VERSION_WITH_CUT, length) if length >= META_BYTES + CUT_BYTES => true,
        _ => return None,
    };
    row.advance(1);
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
    let meta = ShardMeta {
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
        cut: Cut::default(),
    };
    if !is_cut {
        return Some(meta);
    }
    let (from, until, at) = (row.get_u16(), row.get_u16(), row.get_u16());
    let stage = match row.get_u8() {
        0 => Stage::Whole,
        1 => Stage::Weighing,
        2 => Stage::Weighed,
        3 => Stage::Pruning { counted: false },
        4 => Stage::Pruning { counted: true },
        _ => return None,
    };
    let (rows, bytes, digest) = (row.get_u64(), row.get_u64(), row.get_u64());
    let cut = Cut { from, until, at, stage, rows, bytes, digest, cursor: Bytes::copy_from_slice(row) };
    // One without a cut is written without it.
    (cut != Cut::default()).then_some(ShardMeta { cut, ..meta })
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
            cut: Cut::default(),
        };
        assert_eq!(encode_meta(&meta).len(), META_BYTES, "as older programs know it");
        assert_eq!(decode_meta(&encode_meta(&meta)), Some(meta.clone()));
        let stages = [Stage::Whole, Stage::Weighing, Stage::Weighed];
        let pruning = [true, false].map(|counted| Stage::Pruning { counted });
        for stage in stages.into_iter().chain(pruning) {
            let (from, until, at, cursor) = (5, 7, 9, Bytes::from_static(b"k"));
            let cut = Cut { from, until, at, stage, rows: 1, bytes: 2, digest: 3, cursor };
            let meta = ShardMeta { cut, ..meta.clone() };
            assert_eq!(decode_meta(&encode_meta(&meta)), Some(meta));
        }
        assert_eq!(decode_meta(&[0; META_BYTES]), None);
        assert_eq!(decode_meta(&[]), None);
    }
}
