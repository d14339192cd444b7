//! The cluster in words for people: radiants, orders, shards, health.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::membership::Standing;
use shardbearer_core::migration::Migration;
use shardbearer_core::topology::Order;
use shardbearer_proto::pb;
use shardbearer_state::membership::word;

use super::Cluster;
use super::peers::SILENT_NS;

/// What this radiant says of itself.
pub fn of_myself(cluster: &Cluster) -> pb::RadiantStatus {
    let uptime_ns = cluster.world.monotonic_ns().saturating_sub(cluster.started_ns);
    pb::RadiantStatus {
        id: cluster.me.0,
        name: cluster.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        disk_free_bytes: (cluster.disk_free)().unwrap_or(0),
        disk_full: cluster.disk_full.load(Ordering::Relaxed),
        stopping: cluster.stopping.load(Ordering::Relaxed),
        data_bytes: cluster.data_bytes.load(Ordering::Relaxed),
        uptime_ms: uptime_ns / 1_000_000,
        differences: cluster.differences.of(cluster.me, &cluster.map.topology()),
        unsound: cluster.audits.told(cluster),
        ..pb::RadiantStatus::default()
    }
}

/// Whether an order has fewer members than it should, as after a reset, or after somebody left whom nobody could replace.
fn lacks_members(order: &Order) -> bool {
    order.members.len() < order.roster.size as usize
}

/// Everything, as this radiant sees it.
pub fn of_cluster(cluster: &Cluster) -> pb::StatusResponse {
    let topology = cluster.map.topology();
    let now = cluster.world.monotonic_ns();
    let (mut problems, mut told) = (Vec::new(), BTreeSet::new());
    let up = |radiant: RadiantId| radiant == cluster.me || cluster.peers.is_up(radiant, now);
    let herald = |order: OrderId| cluster.peers.leader(order, now).map(|(herald, _)| herald);

    let here = topology.radiants.iter().filter(|radiant| radiant.standing != Standing::Gone);
    let radiants = here.map(|radiant| {
        let heard = cluster.peers.of(radiant.id);
        let silent_ns = heard.as_ref().map(|heard| now.saturating_sub(heard.at_ns));
        let state = match silent_ns {
            _ if radiant.id == cluster.me => "up",
            Some(silent) if silent <= SILENT_NS => "up",
            Some(_) => "silent",
            None => "unknown",
        };
        if state != "up" {
            problems.push(format!("{} (radiant {}) is not heard", radiant.name, radiant.id));
        }
        let status = heard.map(|heard| heard.status).unwrap_or_default();
        if status.disk_full {
            problems.push(format!(
                "the disk of {} (radiant {}) has {} MiB left, less than its [storage] reserve_mib: writes are refused",
                radiant.name,
                radiant.id,
                status.disk_free_bytes >> 20
            ));
        }
        // What one that is silent said last may be over.
        let differences = status.differences.iter().filter(|_| state == "up");
        for pb::Difference { order, radiant: other, index } in differences {
            // Both of the two may tell.
            if !told.insert((*order, radiant.id.0.min(*other), radiant.id.0.max(*other))) {
                continue;
            }
            problems.push(format!(
                "what {} (radiant {}) and radiant {other} hold of order {order} differed after entry {index}; \
                 `shardbearer verify` reads everything and says whose replica it is, and \
                 `shardbearer radiant replace` gives its seats to another",
                radiant.name, radiant.id
            ));
        }
        for pb::Unsound { order, shard, what } in status.unsound.iter().filter(|_| state == "up") {
            problems.push(format!(
                "on {} (radiant {}), of shard {shard} of order {order}, {what}; `shardbearer verify` compares it with \
                 the other replicas, and `shardbearer radiant replace` gives its seats to another",
                radiant.name, radiant.id
            ));
        }
        let leads = topology.orders.iter().filter(|order| herald(order.id) == Some(radiant.id));
        pb::RadiantStatus {
            id: radiant.id.0,
            name: radiant.name.clone(),
            // Of itself a radiant knows it before the configuration does.
            doors: Some((if radiant.id == cluster.me { &cluster.doors } else { &radiant.doors }).into()),
            state: state.into(),
            spare: topology.is_spare(radiant.id),
            standing: word(radiant.standing).into(),
            silent_ms: silent_ns.filter(|_| radiant.id != cluster.me).unwrap_or(0) / 1_000_000,
            leads: leads.map(|order| order.id.0).collect(),
            orders: topology.orders_of(radiant.id).map(|order| order.id.0).collect(),
            ..status
        }
    });
    let radiants = radiants.collect();

    let state_of = |order: &Order| match herald(order.id) {
        None => "down",
        Some(_) if lacks_members(order) => "degraded",
        Some(_) if order.seats().all(&up) && order.roster.learners.is_empty() => "ok",
        Some(_) => "degraded",
    };
    let orders: Vec<pb::OrderStatus> = topology
        .orders
        .iter()
        .map(|order| {
            let state = state_of(order);
            if state == "down" {
                problems.push(match order.id.is_control() {
                    true => "the control order has no herald: nothing is changed about the cluster".into(),
                    false => format!("order {} has no herald: its shards are not served", order.id),
                });
            }
            if lacks_members(order) {
                problems.push(format!(
                    "order {} has {} of {} replicas; the others come as soon as radiants are free to take their seats",
                    order.id,
                    order.members.len(),
                    order.roster.size
                ));
            }
            let lead = herald(order.id);
            let applied =
                lead.and_then(|lead| Some(cluster.peers.of(lead)?.progress.get(&order.id)?.applied));
            let term = cluster.peers.leader(order.id, now).map(|(_, term)| term);
            pb::OrderStatus {
                id: order.id.0,
                control: order.id.is_control(),
                engine: order.engine.clone(),
                herald: lead.unwrap_or(RadiantId::NONE).0,
                term: term.unwrap_or(0),
                members: order.members.iter().map(|member| member.0).collect(),
                learners: order.roster.learners.iter().map(|learner| learner.0).collect(),
                shards: topology.shards_of(order.id).into_iter().map(|shard| shard.0).collect(),
                applied: applied.unwrap_or(0),
                state: state.into(),
                weight: topology.policy.weight(order.id),
                removing: topology.policy.removing.contains(&order.id),
                replicas_wanted: order.roster.size,
            }
        })
        .collect();

    let shards = topology.tables.iter().flat_map(|table| {
        table.shards.iter().map(|shard| {
            let load = cluster.peers.load(shard.id).unwrap_or_default();
            let served = herald(shard.order).is_some();
            pb::ShardStatus {
                id: shard.id.0,
                table: table.name.clone(),
                order: shard.order.0,
                state: if served { "serving" } else { "down" }.into(),
                rows: load.rows,
                bytes: load.bytes,
                reads_per_s: load.reads,
                writes_per_s: load.writes,
                pin: topology.policy.pins.get(&shard.id).map_or(0, |order| order.0),
            }
        })
    });

    problems.extend(cluster.blockers.lock().iter().cloned());

    let health = if orders.iter().any(|order| order.state == "down") {
        "down"
    } else if problems.is_empty() {
        "ok"
    } else {
        "degraded"
    };
    pb::StatusResponse {
        topology: Some(topology.as_ref().into()),
        radiants,
        shards: shards.collect(),
        orders,
        scherald: herald(OrderId::CONTROL).unwrap_or(RadiantId::NONE).0,
        answered_by: cluster.name.clone(),
        health: health.into(),
        problems,
        rebalance: Some(super::rebalance::status(cluster)),
        migration: cluster.migrations.last().map(|last| migration(&last, |order| herald(order).is_some())),
    }
}

/// See `shardbearer_state::migration::GONE_MS_MAX`.
const GIVEN_UP: &str = ", and is called off after half a minute";

/// The last migration. Whoever drives it says what is in its way; where nobody can, this does.
fn migration(last: &Migration, is_led: impl Fn(OrderId) -> bool) -> pb::Migration {
    let mut told = pb::Migration::from(last);
    let report = told.report.get_or_insert_default();
    if !last.phase.is_over() && report.blocker.is_empty() {
        let roles = [(last.from, "gives the shard"), (last.to, "takes the shard")];
        let silent = roles.into_iter().find(|(order, _)| !is_led(*order));
        report.blocker = silent.map_or_else(String::new, |(order, does)| {
            let off = if last.phase.can_return() && !last.paused { GIVEN_UP } else { "" };
            format!("order {order}, which {does}, has no herald; it goes on when there is one{off}")
        });
    }
    told
}
