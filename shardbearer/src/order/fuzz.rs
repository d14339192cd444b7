//! Images of an order's data as they come from peers; see [`crate::fuzzing`].

use std::path::Path;

use bytes::{BufMut, Bytes};
use shardbearer_core::engine::{Applied, SnapshotReader};
use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::log::LogPos;
use shardbearer_core::storage::{Batch, Space, Stored};

use super::snapshot::{self, ImageReader};
use crate::fuzzing::Source;

/// The bytes of an image: as they are, with checksums that fit, or made from rows and then damaged.
pub fn images(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    match source.below(3) {
        0 => drop(read(source.rest())),
        1 => drop(read(&sealed(&mut source))),
        _ => made(&mut source),
    }
}

type Rows = Vec<(Space, Bytes, Bytes)>;

/// All rows, if the image is whole.
fn read(raw: &[u8]) -> Option<(Applied, Rows)> {
    let image = snapshot::read(raw, Path::new("image")).ok()?;
    let applied = image.applied().clone();
    let mut rows = Rows::new();
    let mut length = 0;
    for row in image {
        let (space, key, value) = row.ok()?;
        length += key.len() + value.len() + 8;
        assert!(length <= raw.len(), "more rows than bytes");
        rows.push((space, key, value));
    }
    Some((applied, rows))
}

/// Blocks with right checksums, their kinds and bodies from the source.
fn sealed(source: &mut Source<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut digest = blake3::Hasher::new();
    while !source.is_empty() {
        let mut body = match source.below(4) {
            0 => vec![b'H', 1],
            1 | 2 => vec![b'R'],
            _ => vec![b'T'],
        };
        body.extend(source.bytes());
        if body[0] == b'T' && source.flag() {
            body.truncate(1);
            body.put_u64(source.below(4).into());
            body.extend(digest.finalize().as_bytes());
        } else if body[0] != b'T' {
            digest.update(&body);
        }
        out.put_u32(body.len() as u32);
        out.put_u32(crc32fast::hash(&body));
        out.extend(body);
    }
    out
}

/// An image holds what it was made of, also in chunks; one that was damaged or cut is not taken.
fn made(source: &mut Source<'_>) {
    let (change, at) = (source.byte(), usize::from(source.byte()) << 8 | usize::from(source.byte()));
    let order = OrderId(2);
    let applied =
        Applied { position: LogPos { term: source.number(), index: source.number() }, note: source.bytes() };
    let mut batch = Batch::default();
    while !source.is_empty() {
        let space = match source.below(3) {
            0 => Space::Order(order),
            shard => Space::Shard { order, shard: ShardId(shard.into()), generation: source.number() % 2 },
        };
        batch.put(space, source.bytes(), source.bytes());
    }
    let expect: Rows = batch
        .iter()
        .map(|(space, key, value)| (space, key.clone(), value.cloned().unwrap_or_default()))
        .collect();
    let mut stored = Stored::default();
    stored.commit(batch);
    let spaces = stored.0.keys().copied().collect();
    let mut reader = ImageReader::new(Box::new(stored), spaces, applied.clone());
    let mut raw = Vec::new();
    while let Some(chunk) = reader.next().expect("memory does not fail") {
        raw.extend(chunk);
    }
    assert_eq!(read(&raw), Some((applied, expect)), "an image is what it was made of");
    let at = at % raw.len();
    assert_eq!(read(&raw[..at]), None, "a cut image was taken");
    if change != 0 {
        raw[at] ^= change;
        assert_eq!(read(&raw), None, "a damaged image was taken");
    }
}
