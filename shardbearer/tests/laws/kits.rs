//! The kits for schemes, placements and protocols, one line per implementation.

use shardbearer::engine::chain::Chain;
use shardbearer::engine::solo::Solo;
use shardbearer_core::placement::ShardingScheme;
use shardbearer_core::slots::Slots;
use shardbearer_sim::conformance::{placement, protocol, scheme};
use shardbearer_state::placement::Even;

#[test]
fn slots_keep_the_laws_of_schemes() {
    for shards in [1, 2, 64, 1_000, 16_384] {
        let slots = Slots::new(shards).expect("within bounds");
        let parse = |words: &str| Slots::parse(words).map(|slots| Box::new(slots) as Box<dyn ShardingScheme>);
        scheme::check(&scheme::Subject { scheme: &slots, parse: &parse, even: true });
        // What is cut anywhere is as good, but not as even.
        let cuts = [1, 99, 100, 8_193, 16_383].into_iter();
        let cut = cuts.fold(slots, |slots, at| slots.cut(at).unwrap_or(slots));
        scheme::check(&scheme::Subject { scheme: &cut, parse: &parse, even: false });
    }
}

#[test]
fn even_keeps_the_laws_of_placements() {
    placement::check(&Even);
}

#[test]
fn chain_keeps_the_laws_of_protocols() {
    protocol::check(&protocol::Subject::<Chain>::of(&[1, 2, 3, 5]));
}

#[test]
fn solo_keeps_the_laws_of_protocols() {
    protocol::check(&protocol::Subject::<Solo>::of(&[1]));
}
