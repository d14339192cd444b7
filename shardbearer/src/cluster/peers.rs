//! Who was heard when, and what they said last.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use shardbearer_core::ids::{OrderId, RadiantId, ShardId};
use shardbearer_proto::pb;
use shardbearer_state::membership::plan::Progress;
use shardbearer_state::placement::rebalance::Load;

/// Silence after which a radiant counts as silent, in nanoseconds: ten pulses.
pub const SILENT_NS: u64 = 2_000_000_000;

/// What is known of one radiant.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Last pulse (monotonic, ns).
    pub at_ns: u64,
    /// First pulse since its last silence (monotonic, ns).
    pub since_ns: u64,
    /// What it said of itself.
    pub status: pb::RadiantStatus,
    /// The orders that it says it leads, with their terms.
    pub leads: BTreeMap<OrderId, u64>,
    /// How far it is in the orders in which it has a seat.
    pub progress: BTreeMap<OrderId, Progress>,
    /// How long clients' writes at the orders that it leads took just before its last pulse, in microseconds; 0: there were
    /// none.
    pub writes_took_us: u64,
}

/// The others.
#[derive(Default)]
pub struct Peers {
    heard: RwLock<BTreeMap<RadiantId, Heard>>,
    loads: RwLock<BTreeMap<ShardId, Load>>,
}

impl Peers {
    /// Takes in a pulse.
    pub fn hear(&self, from: RadiantId, now_ns: u64, pulse: &pb::Pulse) {
        {
            let mut heard = self.heard.write();
            let entry = heard.entry(from).or_default();
            if entry.at_ns == 0 || now_ns.saturating_sub(entry.at_ns) > SILENT_NS {
                entry.since_ns = now_ns;
            }
            entry.at_ns = now_ns;
            if let Some(status) = &pulse.status {
                entry.status = status.clone();
            }
            entry.leads = pulse.leads.iter().map(|lead| (lead.order.into(), lead.term)).collect();
            let progress = pulse.orders.iter().map(|order| {
                let pb::OrderProgress { order, applied, term, complete, .. } = *order;
                (order.into(), Progress { applied, term, complete })
            });
            entry.progress = progress.collect();
            entry.writes_took_us = pulse.writes_took_us;
        }
        let mut loads = self.loads.write();
        for load in &pulse.loads {
            let known = loads.entry(load.shard.into()).or_default();
            (known.rows, known.bytes) = (load.rows, load.bytes);
            // A herald that has just begun does not know; what the last one said holds until it does.
            if load.measured {
                (known.reads, known.writes) = (load.reads_per_s, load.writes_per_s);
            }
        }
    }

    /// What is known of a radiant.
    pub fn of(&self, radiant: RadiantId) -> Option<Heard> {
        self.heard.read().get(&radiant).cloned()
    }

    /// When a radiant was heard last (monotonic, ns), and how long its clients' writes took just before that, in microseconds;
    /// 0: there were none.
    pub fn writes_took(&self, radiant: RadiantId) -> Option<(u64, u64)> {
        self.heard.read().get(&radiant).map(|heard| (heard.at_ns, heard.writes_took_us))
    }

    /// Whether a radiant was heard lately.
    pub fn is_up(&self, radiant: RadiantId, now_ns: u64) -> bool {
        self.heard.read().get(&radiant).is_some_and(|heard| now_ns.saturating_sub(heard.at_ns) <= SILENT_NS)
    }

    /// Whether a radiant was heard lately and is there to stay.
    pub fn is_staying(&self, radiant: RadiantId, now_ns: u64) -> bool {
        self.is_up(radiant, now_ns)
            && self.heard.read().get(&radiant).is_some_and(|heard| !heard.status.stopping)
    }

    /// For how long a radiant has been up without a break, in milliseconds; 0 if it is silent or about to end.
    pub fn up_for_ms(&self, radiant: RadiantId, now_ns: u64) -> u64 {
        match self.of(radiant) {
            Some(heard) if heard.status.stopping => 0,
            Some(heard) if now_ns.saturating_sub(heard.at_ns) <= SILENT_NS => {
                now_ns.saturating_sub(heard.since_ns) / 1_000_000
            }
            Some(_) | None => 0,
        }
    }

    /// Who leads an order, by what those who are up say of themselves, and in which term. A herald that has lost its
    /// majority stops saying so.
    pub fn leader(&self, order: OrderId, now_ns: u64) -> Option<(RadiantId, u64)> {
        let heard = self.heard.read();
        let up = heard.iter().filter(|(_, heard)| now_ns.saturating_sub(heard.at_ns) <= SILENT_NS);
        let claims = up.filter_map(|(radiant, heard)| Some((*radiant, *heard.leads.get(&order)?)));
        claims.max_by_key(|(_, term)| *term)
    }

    /// The load of every shard of which any was heard.
    pub fn loads(&self) -> BTreeMap<ShardId, Load> {
        self.loads.read().clone()
    }

    /// A shard's load, as last heard.
    pub fn load(&self, shard: ShardId) -> Option<Load> {
        self.loads.read().get(&shard).copied()
    }
}
