//! Makes an order's members those of the configuration, from a seat of it. An engine that is told its members is told
//! them; where they agree on it, the herald has them agree, and says so when they have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shardbearer_core::engine::{ConsensusEngine, EngineStatus};
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::topology::Order;
use shardbearer_state::membership::plan::Kind;

use crate::cluster::{Cluster, scherald};

/// For one attempt. A newcomer that needs longer to catch up goes on catching up until the next.
const ATTEMPT: Duration = Duration::from_secs(10);

/// After an attempt that led to nothing.
const REST: Duration = Duration::from_millis(500);

/// What is under way for one order.
pub(super) struct Members {
    order: OrderId,
    busy: Arc<AtomicBool>,
}

/// Ends an attempt however it ends.
struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Members {
    pub(super) fn new(order: OrderId) -> Members {
        Members { order, busy: Arc::default() }
    }

    /// Does the next thing, if there is any; never waits for others.
    pub(super) async fn tend(
        &mut self,
        cluster: &Arc<Cluster>,
        engine: &Arc<dyn ConsensusEngine>,
        status: &EngineStatus,
    ) {
        let topology = cluster.map.topology();
        let Some(order) = topology.order(self.order) else { return };
        match cluster.membership.kind(&order.engine) {
            Kind::Fixed => {}
            Kind::Elsewhere => tell(engine, status, order).await,
            Kind::Agree if status.leading && order.is_changing() => {
                let Some(busy) = self.begin() else { return };
                let (cluster, engine) = (cluster.clone(), engine.clone());
                let (id, on, world) = (order.id, topology.epoch, cluster.world.clone());
                let wanted = sorted(order.wanted());
                let heir = heir(&cluster, order, status);
                world.spawn("members", async move {
                    if let Some(heir) = heir {
                        hand_over(&engine, id, heir).await;
                    } else if agree(&engine, id, wanted).await {
                        scherald::finish(&cluster, id, on).await;
                    }
                    drop(busy);
                });
            }
            Kind::Agree => {}
        }
    }

    fn begin(&self) -> Option<Busy> {
        let free = !self.busy.swap(true, Ordering::AcqRel);
        free.then(|| Busy(self.busy.clone()))
    }
}

/// Tells an engine the list that was decided, unless it knows it, or a newer one.
async fn tell(engine: &Arc<dyn ConsensusEngine>, status: &EngineStatus, order: &Order) {
    let configuration = order.configuration();
    // Founders know the first list by themselves.
    if order.is_as_founded() || status.term >= configuration.epoch.0 {
        return;
    }
    tracing::info!(order = %order.id, epoch = %configuration.epoch, "takes over its members");
    if let Err(error) = engine.configure(configuration).await {
        // It has heard of a newer one meanwhile, or is closing.
        tracing::debug!(order = %order.id, %error, "the members were not taken over");
    }
}

/// Who should lead instead, where the herald itself is to leave: the member that stays and is furthest. Only that one
/// has the others agree, so that nobody waits for an election.
fn heir(cluster: &Cluster, order: &Order, status: &EngineStatus) -> Option<RadiantId> {
    if !order.roster.leaving.contains(&cluster.me) {
        return None;
    }
    let now = cluster.world.monotonic_ns();
    let stays = |member: RadiantId| {
        order.members.contains(&member)
            && !order.roster.leaving.contains(&member)
            && cluster.peers.is_up(member, now)
    };
    let staying = status.matched.iter().filter(|(member, _)| stays(*member));
    staying.max_by_key(|(member, matched)| (*matched, *member)).map(|(member, _)| *member)
}

async fn hand_over(engine: &Arc<dyn ConsensusEngine>, order: OrderId, heir: RadiantId) {
    tracing::info!(%order, to = %heir, "gives the lead to a member that stays");
    if let Err(error) = engine.hand_over(heir).await {
        tracing::debug!(%order, to = %heir, %error, "the lead was not taken");
    }
    tokio::time::sleep(REST).await;
}

/// Has the members agree. Whether they did is known only when the engine says so now: the list that it shows may be one
/// that is not committed, and whoever leaves must keep what it has until it is.
async fn agree(engine: &Arc<dyn ConsensusEngine>, order: OrderId, wanted: Vec<RadiantId>) -> bool {
    let ids: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    tracing::info!(%order, wanted = ids.join(", "), "members are to change");
    match tokio::time::timeout(ATTEMPT, engine.reconfigure(wanted)).await {
        Ok(Ok(())) => {
            tracing::info!(%order, "the members agreed");
            true
        }
        Ok(Err(error)) => {
            tracing::warn!(%order, %error, "the members did not agree; trying again");
            tokio::time::sleep(REST).await;
            false
        }
        Err(_) => {
            tracing::info!(%order, "a newcomer is catching up");
            false
        }
    }
}

fn sorted(mut members: Vec<RadiantId>) -> Vec<RadiantId> {
    members.sort_unstable();
    members
}
