//! Orders that lost their majority for good go on from the member that is left.

use std::path::Path;

use shardbearer::config::Config;
use shardbearer::gateway::Overview;
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::topology::Order;
use shardbearer_proto::pb;
use tokio::time::Instant;

use super::harness::*;

pub const RADIANTS: usize = 5;
pub const KEYS: usize = 30;

pub fn configured(folder: &Path, ports: &[u16], i: usize) -> Config {
    let mut config = config(folder, &format!("r{i}"), ports[i], &ports[..2], RADIANTS as u32);
    config.bootstrap.shards = 10;
    config.membership.suspicion_ms = 2_000;
    config.membership.down_grace_ms = 3_000;
    config
}

pub fn id(radiant: &Radiant) -> RadiantId {
    radiant.running.cluster.me
}

pub fn order(radiant: &Radiant, id: OrderId) -> Order {
    radiant.running.cluster.map.topology().order(id).expect("known").clone()
}

/// Waits until all members of an order are at the same entry and hold the same rows.
pub async fn agree(radiants: &[Radiant], id: OrderId) {
    let end = Instant::now() + PATIENCE;
    loop {
        let members = order(&radiants[0], id).members;
        let mut held = Vec::new();
        for radiant in radiants.iter().filter(|radiant| members.contains(&self::id(radiant))) {
            let cluster = &radiant.running.cluster;
            let at = cluster.digest(pb::DigestRequest { order: id.0, at: 0 }).await;
            if let Ok(pb::DigestResponse { at, .. }) = at {
                held.extend(cluster.digest(pb::DigestRequest { order: id.0, at }).await);
            }
        }
        if held.len() == members.len() && held.windows(2).all(|two| two[0] == two[1]) {
            return;
        }
        assert!(Instant::now() < end, "order {id}: {held:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

pub async fn reset(radiant: &Radiant, order: OrderId, dry_run: bool, force: bool) -> pb::ResetResponse {
    let request = pb::ResetRequest { order: order.0, dry_run, force, ..pb::ResetRequest::default() };
    radiant.running.cluster.reset(request).await.expect("answered")
}

pub async fn all_there(radiant: &Radiant, keys: std::ops::Range<usize>, value: &str) {
    for key in keys {
        let key = format!("key-{key}");
        assert_eq!(radiant.get(&key).await.as_deref(), Some(value), "{key}");
    }
}

/// A cluster with some keys, which all members of their orders have: what is acknowledged is to be with the survivors, whoever
/// they are. Also the ports of its radiants.
pub async fn with_keys(folder: &Path) -> (Vec<u16>, Vec<Radiant>) {
    let ports = free_ports(RADIANTS);
    let starting: Vec<_> = (0..RADIANTS).map(|i| start(configured(folder, &ports, i))).collect();
    let mut radiants = Vec::new();
    for radiant in starting {
        radiants.push(radiant.open().await);
    }
    for key in 0..KEYS {
        radiants[key % RADIANTS].put(&format!("key-{key}"), "old").await.expect("written");
    }
    for order in &radiants[0].running.cluster.map.topology().orders {
        agree(&radiants, order.id).await;
    }
    (ports, radiants)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_lost_its_majority_goes_on_from_the_member_that_is_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ports, radiants) = with_keys(folder.path()).await;
    let topology = radiants[0].running.cluster.map.topology();
    let led = reset(&radiants[0], topology.orders[1].id, false, true).await;
    assert!(!led.done && led.blockers[0].contains("has its majority"), "{led:?}");

    // Two go that have no part in the control order, and with them the majority of other orders.
    let (mut here, gone): (Vec<_>, Vec<_>) =
        radiants.into_iter().partition(|radiant| topology.orders[0].members.contains(&id(radiant)));
    let away: Vec<RadiantId> = gone.iter().map(id).collect();
    for radiant in gone {
        radiant.stop().await;
    }
    eventually("they are missed", || {
        let mut peers = here.iter().map(|radiant| &radiant.running.cluster);
        peers.all(|cluster| {
            away.iter().all(|radiant| !cluster.peers.is_up(*radiant, cluster.world.monotonic_ns()))
        })
    })
    .await;
    let lost = |order: &&Order| away.iter().all(|radiant| order.members.contains(radiant));
    let lost: Vec<Order> = topology.orders.iter().filter(lost).cloned().collect();
    assert_eq!(lost.len(), 2, "{topology:?}");
    let one = lost[0].id;
    let dry = reset(&here[0], one, true, true).await;
    let survivor = lost[0].members.iter().find(|member| !away.contains(member)).expect("one is left");
    assert!(!dry.done && dry.survivor == survivor.0 && dry.members.len() == 3, "{dry:?}");
    assert!(
        dry.dangers[0].contains("may be lost") && dry.account[0].contains("only one that answers"),
        "{dry:?}"
    );
    let unforced = reset(&here[0], one, false, false).await;
    assert!(!unforced.done && !unforced.dangers.is_empty(), "{unforced:?}");
    assert_eq!(order(&here[0], one).members, lost[0].members);

    for order in &lost {
        let done = reset(&here[1], order.id, false, true).await;
        assert!(done.done, "{done:?}");
    }
    let full = |order: &Order| order.members.len() == 3 && !order.members.iter().any(|m| away.contains(m));
    eventually("all orders have three members again", || {
        let topology = here[0].running.cluster.map.topology();
        topology.orders.iter().all(|order| full(order) && !order.is_changing())
    })
    .await;
    all_there(&here[2], 0..KEYS, "old").await;
    for key in 0..KEYS {
        here[key % here.len()].put(&format!("key-{key}"), "new").await.expect("written");
    }
    for order in &lost {
        agree(&here, order.id).await;
    }

    // Those two would be the majority of what the orders were.
    let number = |id: RadiantId| {
        let name = topology.radiant(id).expect("known").name.clone();
        name.trim_start_matches('r').parse::<usize>().expect("a number")
    };
    let back: Vec<_> = away.iter().map(|id| start(configured(folder.path(), &ports, number(*id)))).collect();
    for radiant in back {
        let radiant = radiant.open().await;
        let cluster = &radiant.running.cluster;
        assert!(
            lost.iter().all(|order| cluster.orders.find(order.id).is_none()),
            "it knows before it opens any"
        );
        all_there(&radiant, 0..KEYS, "new").await;
        here.push(radiant);
    }

    // And the survivor knows after a restart that what it has is what the order is now.
    let survivor = here.iter().position(|radiant| id(radiant) == *survivor).expect("it is there");
    let survivor = here.remove(survivor);
    let number = number(id(&survivor));
    survivor.stop().await;
    here.push(start(configured(folder.path(), &ports, number)).open().await);
    all_there(&here[here.len() - 1], 0..KEYS, "new").await;
    for order in &lost {
        agree(&here, order.id).await;
    }
    for radiant in here {
        radiant.stop().await;
    }
}
