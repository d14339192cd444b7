//! Schemes with one flaw each: 64 shards of slots, but for one thing.

use std::sync::atomic::{AtomicUsize, Ordering};

use shardbearer_core::placement::ShardingScheme;
use shardbearer_core::slots::Slots;
use shardbearer_sim::conformance::scheme::{Subject, laws};
use shardbearer_sim::conformance::suite::caught;

use super::assert_documented;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    GrowsWhileItIsAsked,
    KnowsOneShardTooMany,
    FailsWithoutAKey,
    DealsKeysOut,
    SaysTooLittle,
    UnderstandsTooMuch,
    LooksAtTheFirstByte,
}

/// Each with the law that is meant to find it.
const FLAWS: &[(Flaw, &str)] = &[
    (Flaw::GrowsWhileItIsAsked, "there_are_shards_and_always_as_many"),
    (Flaw::KnowsOneShardTooMany, "every_key_has_a_shard"),
    (Flaw::FailsWithoutAKey, "every_key_has_a_shard"),
    (Flaw::DealsKeysOut, "a_key_has_the_same_shard_always"),
    (Flaw::SaysTooLittle, "the_description_says_everything"),
    (Flaw::UnderstandsTooMuch, "nothing_else_is_described_by_other_words"),
    (Flaw::LooksAtTheFirstByte, "keys_are_spread_evenly"),
];

struct Flawed {
    slots: Slots,
    flaw: Flaw,
    asked: AtomicUsize,
}

impl Flawed {
    fn new(flaw: Flaw, shards: usize) -> Flawed {
        Flawed::of(flaw, Slots::new(shards).expect("within bounds"))
    }

    fn of(flaw: Flaw, slots: Slots) -> Flawed {
        Flawed { slots, flaw, asked: AtomicUsize::new(0) }
    }

    fn parse(flaw: Flaw, words: &str) -> Option<Flawed> {
        match flaw {
            Flaw::SaysTooLittle => Some(Flawed::new(flaw, 32)),
            Flaw::UnderstandsTooMuch => Self::known(flaw, words.trim()),
            _ => Self::known(flaw, words),
        }
    }

    fn known(flaw: Flaw, words: &str) -> Option<Flawed> {
        Some(Flawed::of(flaw, Slots::parse(words)?))
    }
}

impl ShardingScheme for Flawed {
    fn shards(&self) -> usize {
        match self.flaw {
            Flaw::GrowsWhileItIsAsked => self.slots.shards() + self.asked.load(Ordering::Relaxed),
            _ => self.slots.shards(),
        }
    }

    fn shard_of(&self, key: &[u8]) -> usize {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        match self.flaw {
            Flaw::KnowsOneShardTooMany => self.slots.shard_of(key) + 1,
            Flaw::FailsWithoutAKey => usize::from(key[0]) % self.slots.shards(),
            Flaw::DealsKeysOut => asked % self.slots.shards(),
            Flaw::LooksAtTheFirstByte => {
                key.first().map_or(0, |byte| usize::from(*byte) % self.slots.shards())
            }
            _ => self.slots.shard_of(key),
        }
    }

    fn describe(&self) -> String {
        match self.flaw {
            Flaw::SaysTooLittle => "slots".into(),
            _ => self.slots.describe(),
        }
    }
}

#[test]
fn every_flaw_is_caught_by_the_law_that_is_meant_for_it() {
    for (flaw, law) in FLAWS {
        let parse = |words: &str| {
            Flawed::parse(*flaw, words).map(|scheme| Box::new(scheme) as Box<dyn ShardingScheme>)
        };
        caught(&laws(), law, &Subject { scheme: &Flawed::new(*flaw, 64), parse: &parse, even: true });
    }
    assert_documented(FLAWS);
}

#[test]
fn what_is_not_declared_is_not_asked() {
    let scheme = Flawed::new(Flaw::LooksAtTheFirstByte, 64);
    let parse = |words: &str| {
        Flawed::parse(Flaw::LooksAtTheFirstByte, words)
            .map(|scheme| Box::new(scheme) as Box<dyn ShardingScheme>)
    };
    shardbearer_sim::conformance::scheme::check(&Subject { scheme: &scheme, parse: &parse, even: false });
}
