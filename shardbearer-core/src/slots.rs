//! The `slots` scheme: Redis Cluster's 16384 slots, grouped into shards.
//!
//! The slot of a key is CRC16 (XMODEM) of it, or of its `{hash tag}`, modulo 16384, as the Redis
//! Cluster specification says. A table is founded with even slices: slice `i` of `n` begins at slot
//! `i * 16384 / n`. Each split of a shard adds a cut, at which another shard begins. Shards are numbered in the
//! order of their slots, so a cut raises the positions of all shards behind it.
//!
//! In words: `slots:16384/64` are 64 even slices, `slots:16384/64+100+9000` the same with cuts at two slots.

use std::ops::Range;
use std::sync::Arc;

use crate::placement::ShardingScheme;

/// How many slots there are.
pub const SLOTS: usize = 16_384;

/// The scheme: even slices, and cuts in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    even: usize,
    /// Ascending. None of them begins an even slice.
    cuts: Arc<[u16]>,
}

impl Slots {
    /// Even slices; `None` unless there are 1 to 16384.
    pub fn new(shards: usize) -> Option<Slots> {
        (1..=SLOTS).contains(&shards).then(|| Slots { even: shards, cuts: Arc::default() })
    }

    /// The inverse of [`ShardingScheme::describe`], of exactly those words: a scheme has one description.
    pub fn parse(scheme: &str) -> Option<Slots> {
        let mut numbers = scheme.strip_prefix("slots:16384/")?.split('+');
        let even = Slots::new(numbers.next()?.parse().ok()?)?;
        let cuts = numbers.map(|slot| slot.parse().ok()).collect::<Option<Vec<u16>>>()?;
        let ascending = cuts.is_sorted_by(|a, b| a < b);
        let fit = cuts.iter().all(|slot| even.begins_none(*slot));
        let slots = Slots { cuts: cuts.into(), ..even };
        (ascending && fit && slots.describe() == scheme).then_some(slots)
    }

    /// The scheme with another cut: the shard that holds the slot is two, and the second begins there. `None` if a shard
    /// begins there already, or there is no such slot.
    pub fn cut(&self, slot: u16) -> Option<Slots> {
        let at = self.cuts.binary_search(&slot).err().filter(|_| self.begins_none(slot))?;
        let mut cuts = self.cuts.to_vec();
        cuts.insert(at, slot);
        Some(Slots { even: self.even, cuts: cuts.into() })
    }

    /// The shard that holds a slot.
    pub fn shard_of_slot(&self, slot: u16) -> usize {
        let slot = usize::from(slot) % SLOTS;
        // As nearly always there are no cuts.
        self.slice_of(slot) + self.cuts.partition_point(|cut| usize::from(*cut) <= slot)
    }

    /// The slots of a shard.
    pub fn slots_of(&self, shard: usize) -> Range<usize> {
        self.first(shard)..self.first(shard + 1)
    }

    /// The slot before which a shard ends, 1 to 16384.
    pub fn end_of(&self, shard: usize) -> u16 {
        self.first(shard + 1).min(SLOTS) as u16
    }

    /// Whether a shard was split at a slot.
    pub fn is_cut(&self, slot: u16) -> bool {
        self.cuts.binary_search(&slot).is_ok()
    }

    /// The even slice that holds a slot.
    fn slice_of(&self, slot: usize) -> usize {
        // The inverse of `slice`: the last slice that begins at or before the slot.
        let guess = slot * self.even / SLOTS;
        if self.slice(guess + 1) <= slot { guess + 1 } else { guess }
    }

    /// Where an even slice begins.
    fn slice(&self, slice: usize) -> usize {
        slice * SLOTS / self.even
    }

    /// Whether it is a slot at which no even slice begins.
    fn begins_none(&self, slot: u16) -> bool {
        let slot = usize::from(slot);
        slot < SLOTS && self.slice(self.slice_of(slot)) != slot
    }

    /// The first slot of a shard; of one behind the last, how many slots there are.
    fn first(&self, shard: usize) -> usize {
        if self.cuts.is_empty() {
            return self.slice(shard).min(SLOTS);
        }
        // Positions grow with slots: the first slot whose shard is not before this one.
        let (mut low, mut high) = (0, SLOTS);
        while low < high {
            let middle = low.midpoint(high);
            if self.shard_of_slot(middle as u16) < shard { low = middle + 1 } else { high = middle }
        }
        low
    }
}

impl ShardingScheme for Slots {
    fn shards(&self) -> usize {
        self.even + self.cuts.len()
    }

    fn shard_of(&self, key: &[u8]) -> usize {
        self.shard_of_slot(slot_of(key))
    }

    fn describe(&self) -> String {
        let cuts: String = self.cuts.iter().map(|slot| format!("+{slot}")).collect();
        format!("slots:16384/{}{cuts}", self.even)
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

    #[test]
    fn a_cut_makes_two_of_one_and_leaves_the_others() {
        let mut slots = Slots::new(3).expect("within bounds");
        for cut in [100, 16_383, 99, 9_000, 1, 5_462] {
            let before = slots.clone();
            let position = before.shard_of_slot(cut);
            let Range { start, end } = before.slots_of(position);
            slots = slots.cut(cut).expect("nothing begins there");
            assert_eq!(slots.shards(), before.shards() + 1);
            assert_eq!(slots.slots_of(position), start..usize::from(cut));
            assert_eq!(slots.slots_of(position + 1), usize::from(cut)..end);
            for slot in 0..SLOTS as u16 {
                let (was, is) = (before.shard_of_slot(slot), slots.shard_of_slot(slot));
                assert_eq!(is, was + usize::from(was > position || was == position && slot >= cut), "{slot}");
                assert!(slots.slots_of(is).contains(&usize::from(slot)));
            }
            assert_eq!(Slots::parse(&slots.describe()), Some(slots.clone()));
            assert_eq!(slots.cut(cut), None, "it is cut there already");
            assert_eq!((before.is_cut(cut), slots.is_cut(cut)), (false, true));
            assert!(!slots.is_cut(0) && !slots.is_cut(5_461) && !slots.is_cut(16_384), "founded so");
        }
        assert_eq!(slots.describe(), "slots:16384/3+1+99+100+5462+9000+16383");
        for no_cut in [0, 5_461, 10_922, 16_384, u16::MAX] {
            assert_eq!(slots.cut(no_cut), None, "{no_cut}");
        }
        for other in
            ["/3+", "/3+0", "/3+5461", "/3+9+8", "/3+8+8", "/3+16384", "/3+08", "/3++8", "+8", "/3-8"]
        {
            assert_eq!(Slots::parse(&format!("slots:16384{other}")), None, "{other:?}");
        }
    }
}
