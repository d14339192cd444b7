//! The pulse: what every radiant tells every other a few times a second, and at once when a lead changes.
//! Lost pulses do no harm; the next says it all again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use shardbearer_core::engine::EngineStatus;
use shardbearer_core::ids::{Epoch, OrderId, RadiantId};
use shardbearer_core::log::LogPos;
use shardbearer_core::membership::Standing;
use shardbearer_core::migration::Migration;
use shardbearer_core::topology::{Radiant, Topology};
use shardbearer_core::transport::{Channel, Frame};
use shardbearer_proto::pb;
use shardbearer_state::shard::shard_meta;

use super::{Cluster, held};
use crate::leads::Lead;
use crate::order::Took;

/// Time between pulses.
const PERIOD: Duration = Duration::from_millis(200);

/// Every so many pulses carry the sizes of the shards led here.
const LOADS_EVERY: u64 = 5;

/// After so many pulses a radiant that may have been forgotten asks whether it has left.
const ASK_EVERY: u64 = 5;

/// How long a peer may take to tell its configuration.
const FETCH_DEADLINE: Duration = Duration::from_secs(2);

/// Sends pulses until the world ends.
pub async fn send(cluster: Arc<Cluster>) {
    let mut count = 0u64;
    let (mut heard, mut held) = (BTreeSet::new(), BTreeMap::new());
    loop {
        listen(&cluster, &mut heard);
        if count % ASK_EVERY == ASK_EVERY - 1 && may_be_forgotten(&cluster, &heard) {
            ask_one(&cluster, count / ASK_EVERY);
        }
        let pulse = compose(&cluster, count.is_multiple_of(LOADS_EVERY), &mut held);
        cluster.peers.hear(cluster.me, cluster.world.monotonic_ns(), &pulse);
        let body = Bytes::from(pulse.encode_to_vec());
        for radiant in &cluster.map.topology().radiants {
            if radiant.id != cluster.me {
                cluster.transport.send(radiant.id, Frame { channel: Channel::Pulse, body: body.clone() });
            }
        }
        count += 1;
        // Whether hurried or not, the next pulse is due.
        let _ = tokio::time::timeout(PERIOD, cluster.hurry.notified()).await;
    }
}

/// Whether nobody may tell this radiant any more what is in force: nobody talks to one that has left.
fn may_be_forgotten(cluster: &Cluster, heard: &BTreeSet<RadiantId>) -> bool {
    let topology = cluster.map.topology();
    let leaving = |radiant: &Radiant| matches!(radiant.standing, Standing::Leaving { .. });
    heard.is_empty() || topology.radiant(cluster.me).is_some_and(leaving)
}

/// Asks the others for the configuration, one at a time.
fn ask_one(cluster: &Arc<Cluster>, turn: u64) {
    let topology = cluster.map.topology();
    let others = topology.radiants.iter().map(|radiant| radiant.id).filter(|id| *id != cluster.me);
    let others: Vec<RadiantId> = others.collect();
    let at = turn.checked_rem(others.len() as u64).and_then(|at| usize::try_from(at).ok());
    if let Some(other) = at.and_then(|at| others.get(at)) {
        cluster.world.spawn("ask-configuration", fetch(cluster.clone(), *other));
    }
}

/// Tells the story of who is heard.
fn listen(cluster: &Cluster, heard: &mut BTreeSet<RadiantId>) {
    let now = cluster.world.monotonic_ns();
    let topology = cluster.map.topology();
    let there = topology.radiants.iter().map(|radiant| radiant.id);
    for radiant in there.filter(|radiant| *radiant != cluster.me) {
        let changed = match cluster.peers.is_up(radiant, now) {
            true => heard.insert(radiant),
            false => heard.remove(&radiant),
        };
        if changed {
            cluster.story.heard(radiant, heard.contains(&radiant));
        }
    }
}

/// `held`: the last check of each order that a pulse has carried.
fn compose(cluster: &Cluster, with_loads: bool, held: &mut BTreeMap<OrderId, LogPos>) -> pb::Pulse {
    let (generation, epoch) = cluster.map.topology().version();
    let mut pulse = pb::Pulse {
        from: cluster.me.0,
        epoch: epoch.0,
        generation: generation.0,
        status: Some(super::status::of_myself(cluster)),
        ..pb::Pulse::default()
    };
    let mut writes = Took::default();
    for order in cluster.orders.all() {
        let status = order.engine().status();
        let mut progress = progress(order.id(), &status);
        let checks = order.checks();
        let last = checks.last().map(|last| last.at);
        // Once more now and then: a pulse may be lost, or come before its receiver is as far.
        if last.is_some_and(|last| held.insert(order.id(), last) != Some(last)) || with_loads {
            progress.held = held::told(&checks);
        }
        pulse.orders.push(progress);
        let Took { us, calls } = order.take_writes();
        (writes.us, writes.calls) = (writes.us.saturating_add(us), writes.calls + calls);
        if !status.leading {
            continue;
        }
        pulse.leads.push(pb::Lead { order: order.id().0, herald: cluster.me.0, term: status.term });
        if with_loads {
            let view = order.view();
            for shard in cluster.map.topology().shards_of(order.id()) {
                if let Ok(Some(meta)) = shard_meta(view.as_ref(), order.id(), shard) {
                    let rates = order.rates(shard);
                    let measured = rates.is_some();
                    let rates = rates.unwrap_or_default();
                    pulse.loads.push(pb::ShardLoad {
                        shard: shard.0,
                        rows: meta.rows,
                        bytes: meta.bytes,
                        measured,
                        reads_per_s: rates.reads,
                        writes_per_s: rates.writes,
                    });
                }
            }
        }
    }
    pulse.writes_took_us = writes.us.checked_div(writes.calls).map_or(0, |us| us.max(1));
    if let Some(control) = cluster.control() {
        pulse.migration = cluster.migrations.last().as_ref().map(Into::into);
        let status = control.engine.status();
        pulse.orders.push(progress(OrderId::CONTROL, &status));
        if status.leading {
            let order = OrderId::CONTROL.0;
            pulse.leads.push(pb::Lead { order, herald: cluster.me.0, term: status.term });
        }
    }
    pulse
}

fn progress(order: OrderId, status: &EngineStatus) -> pb::OrderProgress {
    let EngineStatus { applied, term, complete, .. } = *status;
    pb::OrderProgress { order: order.0, applied, term, complete, held: Vec::new() }
}

/// Takes in a peer's pulse.
pub fn receive(cluster: &Arc<Cluster>, from: RadiantId, body: Bytes) {
    let Ok(pulse) = pb::Pulse::decode(body) else { return };
    cluster.peers.hear(from, cluster.world.monotonic_ns(), &pulse);
    let mut compared = BTreeSet::new();
    for progress in pulse.orders.iter().filter(|progress| compared.insert(progress.order)) {
        held::compare(cluster, from, progress);
    }
    for lead in &pulse.leads {
        cluster.leads.learn(Lead { order: lead.order.into(), herald: lead.herald.into(), term: lead.term });
    }
    if let Some(Ok(migration)) = pulse.migration.map(Migration::try_from) {
        cluster.learn_migration(migration);
    }
    if (Epoch(pulse.generation), Epoch(pulse.epoch)) > cluster.map.topology().version() {
        cluster.world.spawn("fetch-configuration", fetch(cluster.clone(), from));
    }
}

/// Gets the configuration that a peer has and this radiant has not.
async fn fetch(cluster: Arc<Cluster>, from: RadiantId) {
    let request = pb::ControlRequest { kind: Some(pb::control_request::Kind::Map(pb::MapRequest {})) };
    let frame = Frame { channel: Channel::Control, body: request.encode_to_vec().into() };
    let Ok(answer) = cluster.transport.call(from, frame, FETCH_DEADLINE).await else { return };
    let topology = match pb::ControlResponse::decode(answer) {
        Ok(pb::ControlResponse { kind: Some(pb::control_response::Kind::Topology(topology)) }) => topology,
        Ok(_) | Err(_) => return,
    };
    let advanced = match Topology::try_from(topology) {
        Ok(topology) => cluster.advance(topology).await,
        Err(error) => Err(error.to_string()),
    };
    if let Err(why) = advanced {
        tracing::warn!("the configuration of radiant {from} cannot be used: {why}");
    }
}

/// Measures the disk until the world ends.
pub async fn watch_disk(cluster: Arc<Cluster>, reserve_bytes: u64) {
    loop {
        let full = (cluster.disk_free)().is_some_and(|free| free < reserve_bytes);
        if full != cluster.disk_full.swap(full, Ordering::Relaxed) {
            if full {
                tracing::warn!("the disk is nearly full: writes are refused until there is space again");
                cluster.story.trouble("its disk is nearly full: writes are refused");
            } else {
                tracing::info!("there is disk space again: writes are taken");
                cluster.story.trouble("there is disk space again: writes are taken");
            }
            cluster.hurry.notify_one();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
