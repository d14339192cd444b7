//! What writes feel of a kill whose order keeps its herald.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shardbearer_core::placement::ShardingScheme;
use shardbearer_core::slots::Slots;

use super::faults::Scene;
use super::gaps::{KEYS, key};

/// How long writes took, in µs, of keys whose herald was not the radiant that is killed.
#[derive(Clone, Debug, Default)]
pub struct Bystanders {
    /// Right before each kill.
    calm: Vec<u64>,
    /// From each kill until every key, also of orders that lost their herald, was written again.
    beside: Vec<u64>,
}

impl Bystanders {
    pub fn felt(&mut self, calm: Vec<u64>, beside: Vec<u64>) {
        self.calm.extend(calm);
        self.beside.extend(beside);
    }

    pub fn json(&self) -> Value {
        let of = |took: &[u64]| json!({"writes": took.len(), "p50_us": quantile(took, 50), "p99_us": quantile(took, 99)});
        json!({"before": of(&self.calm), "after": of(&self.beside)})
    }

    /// Nothing where nobody was killed beside others' heralds.
    pub fn words(&self) -> Option<String> {
        let p99 = |took: &[u64]| Some(quantile(took, 99)? as f64 / 1000.0);
        let (before, after) = (p99(&self.calm)?, p99(&self.beside)?);
        let counts = (self.calm.len(), self.beside.len());
        Some(format!(
            "keys led by others at a kill: p99 {before:.1} ms before, {after:.1} ms after it, of {counts:?} writes"
        ))
    }
}

fn quantile(took: &[u64], percent: usize) -> Option<u64> {
    let mut took = took.to_vec();
    took.sort_unstable();
    took.get((took.len() * percent / 100).min(took.len().saturating_sub(1))).copied()
}

/// Keys of the pulse whose order has another herald than this radiant; none if nobody can say.
pub async fn led_by_others(scene: &Scene<'_>, one: usize) -> BTreeSet<usize> {
    let cluster = &scene.stage.cluster;
    let client = cluster.client().await;
    let topology = client.topology();
    let (Ok(status), Some(table)) = (client.status().await, topology.tables.first()) else {
        return BTreeSet::new();
    };
    let Some(slots) = Slots::parse(&table.scheme) else { return BTreeSet::new() };
    let name = &cluster.radiants[one].name;
    let Some(id) = status.radiants.iter().find(|radiant| radiant.name == *name).map(|radiant| radiant.id)
    else {
        return BTreeSet::new();
    };
    let led_by_another = |number: &usize| {
        let order = table.shards[slots.shard_of(key(*number).as_bytes())].order;
        let order = status.orders.iter().find(|found| found.id == order.0);
        order.is_some_and(|order| order.herald != 0 && order.herald != id)
    };
    (0..KEYS).filter(led_by_another).collect()
}

#[test]
fn p99_is_that_of_the_slowest_hundredth() {
    let mut seen = Bystanders::default();
    assert_eq!(seen.words(), None);
    seen.felt((1..=200).map(|ms| ms * 1000).collect(), vec![5_000]);
    let told = seen.json();
    assert_eq!((&told["before"]["p99_us"], &told["before"]["p50_us"]), (&json!(199_000), &json!(101_000)));
    assert_eq!((&told["after"]["p99_us"], &told["after"]["writes"]), (&json!(5_000), &json!(1)));
    let words = "keys led by others at a kill: p99 199.0 ms before, 5.0 ms after it, of (200, 1) writes";
    assert_eq!(seen.words().as_deref(), Some(words));
}
