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
                let (cluster, engine, order) = (cluster.clone(), engine.clone(), order.clone());
                let (on, world) = (topology.epoch, cluster.world.clone());
                let wanted = sorted(order.wanted());
                if sorted(status.members.clone()) == wanted {
                    world.spawn("members-agreed", async move {
                        scherald::finish(cluster, order.id, on).await;
                        drop(busy);
                    });
                } else {
                    world.spawn("members-agree", async move {
                        agree(engine, order.id, wanted).await;
                        drop(busy);
                    });
                }
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

async fn agree(engine: Arc<dyn ConsensusEngine>, order: OrderId, wanted: Vec<RadiantId>) {
    tracing::info!(%order, ?wanted, "members are to change");
    match tokio::time::timeout(ATTEMPT, engine.reconfigure(wanted)).await {
        Ok(Ok(())) => tracing::info!(%order, "the members agreed"),
        Ok(Err(error)) => {
            tracing::warn!(%order, %error, "the members did not agree; trying again");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Err(_) => tracing::info!(%order, "a newcomer is catching up"),
    }
}

fn sorted(mut members: Vec<RadiantId>) -> Vec<RadiantId> {
    members.sort_unstable();
    members
}
