//! An orderly end: leads first, then the doors (by the assembly), then orders, links and log.

use std::sync::Arc;
use std::time::Duration;

use shardbearer_core::engine::{ConsensusEngine, EngineStatus};
use shardbearer_core::error::RequestError;
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_state::membership::plan::Kind;

use super::home::Home;
use crate::cluster::Cluster;
use crate::leads::Lead;

/// For all leads together; whoever has not taken one by then gets it by election.
const HAND_OVER_MAX: Duration = Duration::from_secs(2);

/// For all chains together: one order after the other is given another list, and those that come back are waited for.
const LEFT_OUT_MAX: Duration = Duration::from_secs(5);

/// How often it is looked who else stays.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long one member has to take a lead before the next is asked.
const TAKE_MAX: Duration = Duration::from_millis(600);

/// Gives every lead to the member that is furthest, so that clients do not wait for an election, and takes none any
/// more. Returns when there is none left, when nobody can take what is left, or when the time is over.
pub(super) async fn hand_leads_over(cluster: &Cluster) {
    cluster.begin_to_stop();
    let mut engines: Vec<(OrderId, Arc<dyn ConsensusEngine>)> =
        cluster.orders.all().iter().map(|order| (order.id(), order.engine().clone())).collect();
    engines.extend(cluster.control().map(|seat| (OrderId::CONTROL, seat.engine.clone())));
    let handing = engines.iter().map(|(order, engine)| async {
        give_away(cluster, engine.as_ref()).await;
        see_successor(cluster, *order, engine.as_ref()).await;
    });
    let leads = tokio::time::timeout(HAND_OVER_MAX, futures_util::future::join_all(handing));
    let chains = engines.iter().filter(|(order, _)| is_told_its_members(cluster, *order));
    let chains = chains.map(|(order, engine)| async {
        if be_left_out(cluster, *order, engine.as_ref()).await {
            see_successor(cluster, *order, engine.as_ref()).await;
        }
    });
    let chains = tokio::time::timeout(LEFT_OUT_MAX, futures_util::future::join_all(chains));
    let (leads, chains) = tokio::join!(leads, chains);
    if leads.is_err() {
        tracing::warn!("not every lead was taken over in time; the others elect");
    }
    if chains.is_err() {
        tracing::warn!("not every chain left this radiant out in time; the scherald does when it is silent");
    }
    // Whoever leads nothing must not be elected either, nor ask for elections because nobody talks to it any more. A chain has no
    // elections, and stands still without any of its members: what the doors have taken in is still answered.
    let idle = engines.iter().filter(|(order, engine)| {
        let needed = is_told_its_members(cluster, *order) && engine.status().members.contains(&cluster.me);
        !engine.status().leading && !needed
    });
    futures_util::future::join_all(idle.map(|(_, engine)| engine.close())).await;
}

/// Whether an order's members are decided elsewhere, as those of a chain.
fn is_told_its_members(cluster: &Cluster, order: OrderId) -> bool {
    let topology = cluster.map.topology();
    topology.order(order).is_some_and(|order| cluster.membership.kind(&order.engine) == Kind::Elsewhere)
}

/// Where a chain would stand still without this radiant, waits until the scherald has left it out, as it does with those who say
/// that they are about to end, if enough others stay. Returns whether it was, or had been.
async fn be_left_out(cluster: &Cluster, order: OrderId, engine: &dyn ConsensusEngine) -> bool {
    let me = cluster.me;
    loop {
        let (status, topology) = (engine.status(), cluster.map.topology());
        let Some(order) = topology.order(order) else { return false };
        let now = cluster.world.monotonic_ns();
        // Those behind the tail are taken back first.
        let others = order.seats().filter(|seat| *seat != me);
        let staying = others.filter(|seat| cluster.peers.is_staying(*seat, now)).count();
        // The list that holds may not have been heard of here.
        let is_member = status.members.contains(&me) || order.configuration().members.contains(&me);
        if !is_member || status.closed {
            return !is_member;
        }
        if 2 * staying <= order.roster.size as usize {
            return false;
        }
        // Others may say meanwhile that they end as well.
        let _ = tokio::time::timeout(LOOK_AGAIN, engine.changed(status.version)).await;
    }
}

/// Waits until it is known here who leads now: what the doors have taken in is sent there, and once they close nobody
/// tells this radiant any more.
async fn see_successor(cluster: &Cluster, order: OrderId, engine: &dyn ConsensusEngine) {
    let mut status = engine.status();
    while !status.leading && !status.closed {
        if let Some(herald) = status.herald.filter(|herald| *herald != cluster.me) {
            cluster.leads.learn(Lead { order, herald, term: status.term });
            return;
        }
        status = engine.changed(status.version).await;
    }
}

/// Asks one member after the other to take the lead of an order, the best first.
async fn give_away(cluster: &Cluster, engine: &dyn ConsensusEngine) {
    let mut asked = Vec::new();
    loop {
        let status = engine.status();
        if !status.leading {
            return;
        }
        let now = cluster.world.monotonic_ns();
        let may = |member| !asked.contains(&member) && cluster.peers.is_staying(member, now);
        let Some(to) = best_successor(&status, cluster.me, may) else { return };
        asked.push(to);
        let taken = async {
            engine.hand_over(to).await?;
            let mut version = status.version;
            while engine.status().leading {
                version = engine.changed(version).await.version;
            }
            Ok::<(), RequestError>(())
        };
        match tokio::time::timeout(TAKE_MAX, taken).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::debug!(%to, %error, "the lead was not taken"),
            Err(_) => tracing::debug!(%to, "the lead was not taken in time"),
        }
    }
}

/// The member that may have the lead and whose log is longest.
fn best_successor(
    status: &EngineStatus,
    me: RadiantId,
    may: impl Fn(RadiantId) -> bool,
) -> Option<RadiantId> {
    let others = status.matched.iter().filter(|(member, _)| *member != me && may(*member));
    others.max_by_key(|(_, matched)| *matched).map(|(member, _)| *member)
}

/// Closes what is left, in the order of dependence.
pub(super) async fn close(cluster: &Cluster, home: Arc<Home>) {
    for order in cluster.orders.all() {
        order.close().await;
    }
    if let Some(seat) = cluster.control() {
        seat.engine.close().await;
        seat.applier.close().await;
    }
    cluster.transport.close();
    // Ends the log's writer, which syncs what waits; a panic there has been reported already.
    let _ = cluster.world.block(move || home.close()).await;
}
