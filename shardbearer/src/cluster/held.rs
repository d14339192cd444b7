//! Which replicas here do not hold what others hold at the same entry, by the rolling digests in pulses
//! ([`crate::order::checks`]).

use std::collections::BTreeMap;

use parking_lot::Mutex;
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::log::LogPos;
use shardbearer_core::topology::Topology;
use shardbearer_proto::pb;

use super::Cluster;
use crate::order::checks::{self, Check, Verdict};

/// The differences between what this radiant holds and what others do.
#[derive(Default)]
pub struct Differences(Mutex<BTreeMap<(OrderId, RadiantId), LogPos>>);

impl Differences {
    /// Takes in a verdict. Returns whether it is news: that something differs, or does no longer.
    fn learn(&self, order: OrderId, radiant: RadiantId, verdict: Verdict) -> bool {
        let mut known = self.0.lock();
        match verdict {
            Verdict::Unknown => false,
            Verdict::Same => known.remove(&(order, radiant)).is_some(),
            Verdict::Different(at) => known.insert((order, radiant), at).is_none(),
        }
    }

    /// Those between replicas that are still wanted; of others nothing is remembered, for who gets such a seat again begins
    /// anew.
    pub fn of(&self, me: RadiantId, topology: &Topology) -> Vec<pb::Difference> {
        let mut known = self.0.lock();
        known.retain(|(order, radiant), _| seated(topology, *order, &[me, *radiant]));
        let told = |(&(order, radiant), at): (&(OrderId, RadiantId), &LogPos)| pb::Difference {
            order: order.0,
            radiant: radiant.0,
            index: at.index,
        };
        known.iter().map(told).collect()
    }
}

/// Whether all of these have a seat in the order.
fn seated(topology: &Topology, order: OrderId, radiants: &[RadiantId]) -> bool {
    let order = topology.order(order);
    order.is_some_and(|order| radiants.iter().all(|radiant| order.seats().any(|seat| seat == *radiant)))
}

/// The last checks of a replica here as a pulse carries them.
pub(super) fn told(checks: &[Check]) -> Vec<pb::HeldAt> {
    let told = |check: &Check| {
        let Check { at: LogPos { term, index }, digest } = *check;
        pb::HeldAt { term, index, digest }
    };
    checks.iter().map(told).collect()
}

/// Compares what a peer holds of an order with what is held here.
pub(super) fn compare(cluster: &Cluster, from: RadiantId, progress: &pb::OrderProgress) {
    let id = OrderId(progress.order);
    if progress.held.is_empty() {
        return;
    }
    if !seated(&cluster.map.topology(), id, &[cluster.me, from]) {
        return;
    }
    let Some(order) = cluster.orders.find(id) else { return };
    let heard = |held: &pb::HeldAt| {
        let pb::HeldAt { term, index, digest } = *held;
        Check { at: LogPos { term, index }, digest }
    };
    let theirs: Vec<Check> = progress.held.iter().take(checks::KEPT).map(heard).collect();
    let verdict = checks::compare(&order.checks(), &theirs);
    if !cluster.differences.learn(id, from, verdict) {
        return;
    }
    match verdict {
        Verdict::Different(LogPos { term, index }) => {
            tracing::error!(order = %id, peer = %from, term, index, "replicas do not hold the same after the same entry");
            cluster.story.trouble(format!(
                "its replica of order {id} and that of radiant {from} did not hold the same after entry {index}"
            ));
        }
        Verdict::Same | Verdict::Unknown => {
            tracing::info!(order = %id, peer = %from, "replicas hold the same again");
            cluster
                .story
                .trouble(format!("its replica of order {id} and that of radiant {from} hold the same again"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_news_once_and_again_when_it_is_gone() {
        let differences = Differences::default();
        let (order, radiant) = (OrderId(2), RadiantId(3));
        let at = |index| Verdict::Different(LogPos { term: 1, index });
        assert!(!differences.learn(order, radiant, Verdict::Same), "as it should be");
        assert!(differences.learn(order, radiant, at(64)));
        assert!(!differences.learn(order, radiant, at(128)), "still");
        assert!(!differences.learn(order, radiant, Verdict::Unknown));
        assert!(differences.learn(order, radiant, Verdict::Same));
    }
}
