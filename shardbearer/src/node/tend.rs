//! What a radiant does for each of its orders all the time: telling who leads, taking founded shards as
//! own, removing what has expired, giving the lead back to whom it is meant for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shardbearer_core::engine::{ConsensusEngine, EngineStatus};
use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::topology::Topology;
use shardbearer_state::placement::{Candidate, hand_over_to};
use tokio::sync::mpsc;

use super::members::Members;
use crate::beat::until_beat;
use crate::cluster::Cluster;
use crate::cluster::control::ControlSeat;
use crate::leads::Lead;
use crate::order::Order;

/// How often an order is looked after when nothing happens. Also how late expired rows give their space back.
const ROUND: Duration = Duration::from_millis(250);
/// For proposals of the order's own.
const DEADLINE: Duration = Duration::from_secs(5);
/// After an attempt to give the lead back; a member that does not take it is not pestered.
const HAND_BACK_EVERY_NS: u64 = 5_000_000_000;
/// A lead is kept for so long at least: whoever had it before may have died a moment ago, and is not missed yet.
const KEEP_NS: u64 = 3_000_000_000;

/// Looks after a data order until its engine closes; says so on `failed` if that was not wanted.
pub(super) async fn data(
    cluster: Arc<Cluster>,
    order: Arc<Order>,
    disk_full: Arc<AtomicBool>,
    failed: mpsc::Sender<String>,
) {
    let mut watch = Watch::new(order.id());
    let mut members = Members::new(order.id());
    let (mut taken, mut prepared) = (None, None);
    loop {
        let Some(status) = watch.next(&cluster, order.engine(), &failed).await else { return };
        disk_full.store(any_disk_full(&cluster, &status), Ordering::Relaxed);
        members.tend(&cluster, order.engine(), &status).await;
        let topology = cluster.map.topology();
        let shards = topology.shards_of(order.id());
        if prepared != Some(topology.epoch) {
            match order.prepare(&shards) {
                Ok(all) => prepared = all.then_some(topology.epoch),
                Err(error) => tracing::error!(order = %order.id(), %error, "cannot read a shard's record"),
            }
        }
        if !status.leading {
            continue;
        }
        // Looked at once per term and configuration: the rows that say it are among the most often changed.
        let now = (status.term, topology.epoch);
        if taken != Some(now) {
            match own(&topology, &shards, &order).await {
                Ok(()) => taken = Some(now),
                Err(why) => tracing::debug!(order = %order.id(), "shards are not taken yet: {why}"),
            }
        }
        // More may be due than one round removes; the next look is soon enough, and others get their turn.
        if let Err(error) = order.sweep(&shards, DEADLINE).await {
            tracing::error!(order = %order.id(), "expired rows cannot be removed: {error}");
        }
        watch.hand_back(&cluster, order.engine(), &status).await;
    }
}

/// Looks after a seat of the control order.
pub(super) async fn control(cluster: Arc<Cluster>, seat: Arc<ControlSeat>, failed: mpsc::Sender<String>) {
    let mut watch = Watch::new(OrderId::CONTROL);
    let mut members = Members::new(OrderId::CONTROL);
    while let Some(status) = watch.next(&cluster, &seat.engine, &failed).await {
        members.tend(&cluster, &seat.engine, &status).await;
        if status.leading {
            watch.hand_back(&cluster, &seat.engine, &status).await;
        }
    }
}

/// Follows one engine.
struct Watch {
    order: OrderId,
    version: u64,
    handed_ns: u64,
    /// Since when this radiant leads, in which term.
    led: Option<(u64, u64)>,
    /// The term of the lead that the story tells of.
    told: Option<u64>,
    /// The term of the lead that the log tells of.
    logged: Option<u64>,
}

impl Watch {
    fn new(order: OrderId) -> Watch {
        Watch { order, version: 0, handed_ns: 0, led: None, told: None, logged: None }
    }

    /// Waits for news or for the next round and passes on who leads; `None` once the engine is closed.
    async fn next(
        &mut self,
        cluster: &Cluster,
        engine: &Arc<dyn ConsensusEngine>,
        failed: &mpsc::Sender<String>,
    ) -> Option<EngineStatus> {
        let round = until_beat(&cluster.world, ROUND);
        let status = match tokio::time::timeout(round, engine.changed(self.version)).await {
            Ok(status) => status,
            Err(_) => engine.status(),
        };
        if status.closed {
            if let Some(why) = status.failure {
                // One failure is enough; the rest would say the same.
                let _ = failed.try_send(format!("order {}: {why}", self.order));
            }
            return None;
        }
        if !status.leading {
            cluster.leads.doubt(self.order, cluster.me, None);
        }
        // That this radiant leads is only said while it is sure of it.
        let herald = status.herald.filter(|herald| status.leading || *herald != cluster.me);
        if let Some(herald) = herald {
            cluster.leads.learn(Lead { order: self.order, herald, term: status.term });
        }
        self.tell(cluster, &status);
        if status.version != self.version {
            self.version = status.version;
            if status.leading {
                // Versions also change with members, and with whether it is sure that it leads.
                if self.logged.replace(status.term) != Some(status.term) {
                    tracing::info!(order = %self.order, term = status.term, "leads");
                }
                cluster.hurry.notify_one();
            }
        }
        Some(status)
    }

    fn tell(&mut self, cluster: &Cluster, status: &EngineStatus) {
        let leads = Some(status.term).filter(|_| status.leading);
        if leads == self.told {
            return;
        }
        if let Some(term) = std::mem::replace(&mut self.told, leads) {
            cluster.story.lost(self.order, term, status.herald.filter(|herald| *herald != cluster.me));
        }
        if let Some(term) = leads {
            cluster.story.won(self.order, term);
        }
    }

    /// Gives the lead to the member that should have it, once that one is steady and caught up.
    async fn hand_back(
        &mut self,
        cluster: &Cluster,
        engine: &Arc<dyn ConsensusEngine>,
        status: &EngineStatus,
    ) {
        let now = cluster.world.monotonic_ns();
        let since = match self.led {
            Some((since, term)) if term == status.term => since,
            Some(_) | None => now,
        };
        self.led = Some((since, status.term));
        if now.saturating_sub(since) < KEEP_NS {
            return;
        }
        if self.handed_ns != 0 && now.saturating_sub(self.handed_ns) < HAND_BACK_EVERY_NS {
            return;
        }
        let topology = cluster.map.topology();
        let Some(order) = topology.order(self.order) else { return };
        let members = status.matched.iter().map(|(member, matched)| Candidate {
            id: *member,
            up_for_ms: cluster.peers.up_for_ms(*member, now),
            behind: status.last_log.saturating_sub(*matched),
        });
        let members: Vec<Candidate> = members.collect();
        let Some(to) = hand_over_to(order, cluster.me, &members) else { return };
        self.handed_ns = now;
        tracing::info!(order = %self.order, %to, "gives the lead back");
        if let Err(error) = engine.hand_over(to).await {
            tracing::debug!(order = %self.order, %to, %error, "the lead was not taken");
        }
    }
}

/// Whether a member of the order is short of disk space: then its log could no longer follow.
fn any_disk_full(cluster: &Cluster, status: &EngineStatus) -> bool {
    let full = |member| {
        if member == cluster.me {
            return cluster.disk_full.load(Ordering::Relaxed);
        }
        let now = cluster.world.monotonic_ns();
        // A silent member does not count: the others go on without it.
        cluster.peers.is_up(member, now)
            && cluster.peers.of(member).is_some_and(|heard| heard.status.disk_full)
    };
    status.members.iter().copied().any(full)
}

/// Takes the shards that the configuration gives to this order and that it has no record of.
async fn own(topology: &Topology, shards: &[ShardId], order: &Order) -> Result<(), String> {
    let known = shardbearer_state::shard::owned_shards(order.view().as_ref(), order.id())
        .map_err(|error| error.to_string())?;
    let missing: Vec<ShardId> = shards.iter().copied().filter(|shard| !known.contains(shard)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    order.adopt(&missing, topology.epoch.0, DEADLINE).await.map_err(|error| error.to_string())
}
