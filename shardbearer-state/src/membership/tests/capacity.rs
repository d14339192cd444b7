//! What a request would leave the others to carry.

use shardbearer_core::ids::ShardId;

use super::super::capacity::{Capacity, Carries};
use super::*;
use crate::placement::rebalance::Load;

/// Shards of 10 keys and 1 MiB, but for the first, of 100 keys and 1 GiB.
fn world(founders: usize, spares: usize) -> World {
    let mut world = World::new(founders, spares, "raft", 2);
    let shards = world.topology.tables.iter().flat_map(|table| &table.shards);
    let load = |shard: ShardId| match shard.0 {
        1 => Load { rows: 100, bytes: 1 << 30, ..Load::default() },
        _ => Load { rows: 10, bytes: 1 << 20, ..Load::default() },
    };
    world.facts.loads = shards.map(|shard| (shard.id, load(shard.id))).collect();
    world.facts.free_bytes = world.topology.radiants.iter().map(|radiant| (radiant.id, 2 << 30)).collect();
    world
}

fn of<'a>(all: &'a [Capacity], name: &str) -> &'a Capacity {
    all.iter().find(|one| one.name == name).expect("it carries something before or after")
}

const ALL: Carries = Carries { shards: 4, keys: 130, bytes: (1 << 30) + 3 * (1 << 20) };

#[test]
fn whoever_leaves_has_its_copies_carried_by_a_spare() {
    let world = world(3, 1);
    let answer = ask(&world.topology, &world.facts, world.id("b"), Action::Leave);
    assert_eq!((answer.blockers, answer.dangers), (vec![], vec![]));
    let none = Carries::default();
    let told: Vec<_> = ["a", "b", "c", "d"].map(|name| of(&answer.capacity, name)).into();
    let told: Vec<_> = told.into_iter().map(|one| (one.now, one.then)).collect();
    assert_eq!(told, [(ALL, ALL), (ALL, none), (ALL, ALL), (none, ALL)]);
    assert_eq!(of(&answer.capacity, "d").free_bytes, 2 << 30);
}

#[test]
fn who_has_too_little_space_for_it_is_a_danger() {
    let mut world = world(3, 1);
    let (leaving, spare) = (world.id("b"), world.id("d"));
    world.facts.free_bytes.insert(spare, 1 << 30);
    for action in [Action::Leave, Action::Drain, Action::Replace(spare)] {
        let answer = ask(&world.topology, &world.facts, leaving, action);
        let said = ["radiant d would carry 1027 MiB more and has 1024 MiB free".to_owned()];
        assert_eq!(answer.dangers, said, "{action:?}");
    }
    // It is not asked to carry anything of a radiant that only takes seats.
    let answer = ask(&world.topology, &world.facts, spare, Action::Join);
    assert_eq!(answer.dangers, Vec::<String>::new());
    assert!(of(&answer.capacity, "d").then.shards > 0, "{:?}", answer.capacity);
    world.facts.free_bytes.clear();
    let answer = ask(&world.topology, &world.facts, leaving, Action::Leave);
    assert_eq!(answer.dangers, Vec::<String>::new(), "it is not known how much is free");
}
