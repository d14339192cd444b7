//! What each radiant carries, and what it would carry: copies of shards, by its seats in data orders.

use shardbearer_core::ids::RadiantId;
use shardbearer_core::topology::Topology;

use super::called;
use super::plan::Facts;

/// The copies that one radiant holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Carries {
    /// Shards.
    pub shards: u64,
    /// Keys, expired ones included.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// What a radiant carries now, and what it would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// The radiant.
    pub radiant: RadiantId,
    /// Its name.
    pub name: String,
    /// Before.
    pub now: Carries,
    /// After.
    pub then: Carries,
    /// Bytes that are free on its disk; 0: not known.
    pub free_bytes: u64,
}

/// What whoever carries anything before or after does, by id; and who has too little space for it, a sentence each.
pub(super) fn compare(before: &Topology, after: &Topology, facts: &Facts) -> (Vec<Capacity>, Vec<String>) {
    let (mut all, mut dangers) = (Vec::new(), Vec::new());
    for radiant in &before.radiants {
        let (now, then) = (carries(before, facts, radiant.id), carries(after, facts, radiant.id));
        if now == Carries::default() && then == Carries::default() {
            continue;
        }
        let free_bytes = facts.free_bytes.get(&radiant.id).copied().unwrap_or_default();
        let more = then.bytes.saturating_sub(now.bytes);
        if more > free_bytes && free_bytes > 0 {
            dangers.push(format!(
                "{} would carry {} MiB more and has {} MiB free",
                called(&radiant.name),
                more >> 20,
                free_bytes >> 20
            ));
        }
        all.push(Capacity { radiant: radiant.id, name: radiant.name.clone(), now, then, free_bytes });
    }
    all.sort_by_key(|one| one.radiant);
    (all, dangers)
}

fn carries(topology: &Topology, facts: &Facts, radiant: RadiantId) -> Carries {
    let mut sum = Carries::default();
    for order in topology.orders_of(radiant) {
        for shard in topology.shards_of(order.id) {
            let load = facts.loads.get(&shard).copied().unwrap_or_default();
            sum.shards += 1;
            sum.keys = sum.keys.saturating_add(load.rows);
            sum.bytes = sum.bytes.saturating_add(load.bytes);
        }
    }
    sum
}
