//! The `slots` scheme: Redis Cluster's 16384 slots, grouped evenly into shards.
//!
//! The slot of a key is CRC16 (XMODEM) of it, or of its `{hash tag}`, modulo 16384, as the Redis
//! Cluster specification says. Shard `i` of `n` holds the slots from `i * 16384 / n` on.

use std::ops::Range;

use crate::placement::ShardingScheme;

/// How many slots there are.
pub const SLOTS: usize = 16_384;

/// The scheme with so many shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    shards: usize,
}

impl Slots {
    /// `None` unless there are 1 to 16384 shards.
    pub fn new(shards: usize) -> Option<Slots> {
        (1..=SLOTS).contains(&shards).then_some(Slots { shards })
    }

    /// The inverse of [`ShardingScheme::describe`], of exactly those words: a scheme has one description.
    pub fn parse(scheme: &str) -> Option<Slots> {
        let slots = Slots::new(scheme.strip_prefix("slots:16384/")?.parse().ok()?)?;
        (slots.describe() == scheme).then_some(slots)
    }

    /// The shard that holds a slot.
    pub fn shard_of_slot(&self, slot: u16) -> usize {
        // The inverse of `first`: the last shard that begins at or before the slot.
        let slot = usize::from(slot) % SLOTS;
        let guess = slot * self.shards / SLOTS;
        if self.first(guess + 1) <= slot { guess + 1 } else { guess }
    }

    /// The slots of a shard.
    pub fn slots_of(&self, shard: usize) -> Range<usize> {
        self.first(shard)..self.first(shard + 1)
    }

    fn first(&self, shard: usize) -> usize {
        shard * SLOTS / self.shards
    }
}

impl ShardingScheme for Slots {
    fn shards(&self) -> usize {
        self.shards
    }

    fn shard_of(&self, key: &[u8]) -> usize {
        self.shard_of_slot(slot_of(key))
    }

    fn describe(&self) -> String {
        format!("slots:16384/{}", self.shards)
    }
}

/// The slot of a key.
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(hashed(key)) % SLOTS as u16
}

/// What of a key is hashed: between the first `{` and the next `}`, if there is anything.
fn hashed(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|byte| *byte == b'{') else { return key };
    let tail = &key[open + 1..];
    match tail.iter().position(|byte| *byte == b'}') {
        Some(length) if length > 0 => &tail[..length],
        Some(_) | None => key,
    }
}

/// CRC-16/XMODEM: polynomial 0x1021, initial value 0.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

const TABLE: [u16; 256] = {
    let mut table = [0u16; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31c3, "the specification's own test vector");
        assert_eq!(slot_of(b"foo"), 12182);
        assert_eq!(slot_of(b"bar"), 5061);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        // What `CLUSTER KEYSLOT` of Redis answers.
        for (key, slot) in [
            ("", 0),
            ("a", 15_495),
            ("hello", 866),
            ("somekey", 11_058),
            ("foo{hash_tag}", 2_515),
            ("bar{hash_tag}", 2_515),
            ("123456789", 12_739),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key:?}");
        }
        for unclosed in ["{", "}{", "a{b", "{}", "}"] {
            assert_eq!(slot_of(unclosed.as_bytes()), crc16(unclosed.as_bytes()) % 16384, "{unclosed:?}");
        }
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % 16384, "an empty tag is no tag");
        assert_eq!(slot_of(b"foo{{bar}}zap"), crc16(b"{bar") % 16384);
        assert_eq!(slot_of(b"foo{bar}{zap}"), crc16(b"bar") % 16384);
    }

    #[test]
    fn every_slot_has_one_shard_and_shards_are_even() {
        for shards in [1, 2, 3, 7, 64, 100, 1000, 16_383, 16_384] {
            let slots = Slots::new(shards).expect("within bounds");
            for shard in 0..shards {
                let range = slots.slots_of(shard);
                assert!(range.len() == SLOTS / shards || range.len() == SLOTS / shards + 1);
                for slot in range {
                    assert_eq!(slots.shard_of_slot(slot as u16), shard, "slot {slot} of {shards} shards");
                }
            }
            assert_eq!(slots.slots_of(shards - 1).end, SLOTS);
            assert_eq!(Slots::parse(&slots.describe()), Some(slots));
        }
        assert_eq!(Slots::new(0), None);
        for other in ["slots:16384/0", "slots:16384/064", "slots:16384/+64", "slots:16384/64 "] {
            assert_eq!(Slots::parse(other), None, "{other:?}");
        }
    }
}
