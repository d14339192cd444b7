//! An orderly end: leads first, then the doors (by the assembly), then orders, links and log.

use std::sync::Arc;
use std::time::Duration;

use shardbearer_core::engine::{ConsensusEngine, EngineStatus};
use shardbearer_core::ids::RadiantId;

use super::home::Home;
use crate::cluster::Cluster;

/// For all leads together; whoever has not taken one by then gets it by election.
const HAND_OVER_MAX: Duration = Duration::from_secs(2);

/// Gives every lead to the member that is furthest, so that clients do not wait for an election.
pub(super) async fn hand_leads_over(cluster: &Cluster) {
    let mut engines: Vec<Arc<dyn ConsensusEngine>> =
        cluster.orders.all().iter().map(|order| order.engine().clone()).collect();
    engines.extend(cluster.control().map(|seat| seat.engine.clone()));
    let now = cluster.world.monotonic_ns();
    let handing = engines.iter().map(|engine| async {
        let status = engine.status();
        let best = best_successor(&status, cluster.me, |member| cluster.peers.is_up(member, now));
        if let Some(to) = best.filter(|_| status.leading)
            && engine.hand_over(to).await.is_ok()
        {
            let mut version = status.version;
            while engine.status().leading {
                version = engine.changed(version).await.version;
            }
        }
    });
    let all = futures_util::future::join_all(handing);
    if tokio::time::timeout(HAND_OVER_MAX, all).await.is_err() {
        tracing::warn!("not every lead was taken over in time; the others elect");
    }
}

/// The member that is up and whose log is longest.
fn best_successor(
    status: &EngineStatus,
    me: RadiantId,
    is_up: impl Fn(RadiantId) -> bool,
) -> Option<RadiantId> {
    let others = status.matched.iter().filter(|(member, _)| *member != me && is_up(*member));
    others.max_by_key(|(_, matched)| *matched).map(|(member, _)| *member)
}

/// Closes what is left, in the order of dependence.
pub(super) async fn close(cluster: &Cluster, home: Arc<Home>) {
    for order in cluster.orders.all() {
        order.close().await;
    }
    if let Some(seat) = cluster.control() {
        seat.engine.close().await;
    }
    cluster.transport.close();
    // Ends the log's writer, which syncs what waits; a panic there has been reported already.
    let _ = cluster.world.block(move || home.close()).await;
}
