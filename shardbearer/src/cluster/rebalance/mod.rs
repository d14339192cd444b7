//! Which order has which shard: what operators ask of it (`ask`), and what the scherald does about it ([`Spread`]).
//!
//! The plan is [`shardbearer_state::placement::rebalance`]; a move of it is a migration like any other. It is made
//! anew, from the configuration and what heralds say of loads, before every move: whoever is the scherald then goes on.

mod act;
pub(super) mod ask;

use std::sync::Arc;

use shardbearer_core::ids::OrderId;
use shardbearer_core::rebalancing::Mode;
use shardbearer_core::topology::Topology;
use shardbearer_proto::pb;
use shardbearer_state::controller;
use shardbearer_state::placement::rebalance::{self, Plan, Sight};

pub(super) use self::act::Spread;
pub(super) use self::ask::{answer, ask, explain};
use super::Cluster;
use super::control::ControlSeat;

/// What is seen from here.
fn sight(cluster: &Cluster, topology: &Topology) -> Sight {
    Sight::new(
        topology,
        |shard| cluster.peers.load(shard).unwrap_or_default(),
        |order| is_led(cluster, order),
    )
}

fn is_led(cluster: &Cluster, order: OrderId) -> bool {
    let now = cluster.world.monotonic_ns();
    let up = |radiant| radiant == cluster.me || cluster.peers.is_up(radiant, now);
    cluster.leads.herald(order).is_some_and(up)
}

fn plan(cluster: &Cluster, topology: &Topology, mode: Mode) -> Plan {
    rebalance::plan(&sight(cluster, topology), mode, cluster.membership.gain_min_percent)
}

/// The configuration as the control order has it here, which is a moment before the radiant follows it.
pub(super) fn in_force(cluster: &Cluster, seat: &ControlSeat) -> Arc<Topology> {
    match controller::topology(seat.applier.view().as_ref()) {
        Ok(Some(topology)) => Arc::new(topology),
        Ok(None) => cluster.map.topology(),
        Err(error) => {
            tracing::error!("{error}");
            cluster.map.topology()
        }
    }
}

/// By what shards are spread where nothing else is asked for.
fn usual(mode: Mode) -> Mode {
    match mode {
        Mode::Off | Mode::Manual | Mode::Count => Mode::Count,
        Mode::Load => Mode::Load,
    }
}

/// How it stands, for people.
pub(super) fn status(cluster: &Cluster) -> pb::RebalanceStatus {
    let topology = cluster.map.topology();
    let policy = &topology.policy;
    let mode = policy.running.unwrap_or(usual(policy.mode));
    pb::RebalanceStatus {
        mode: policy.mode.name().into(),
        running: policy.running.map_or("", Mode::name).into(),
        paused: policy.paused,
        moves_left: plan(cluster, &topology, mode).moves.len() as u64,
    }
}
