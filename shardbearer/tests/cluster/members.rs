//! Radiants take and give up seats while the cluster serves.

use std::path::Path;

use shardbearer::config::Config;
use shardbearer::gateway::Overview;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::membership::Standing;
use shardbearer_core::topology::Topology;
use shardbearer_proto::pb;

use super::harness::*;

const FOUNDERS: usize = 3;

/// The configuration of radiant `i`: one of the founders, or a spare.
fn impatient(folder: &Path, ports: &[u16], i: usize, engine: &str) -> Config {
    let mut config = config(folder, &format!("r{i}"), ports[i], &ports[..FOUNDERS], FOUNDERS as u32);
    config.consensus.engine = engine.into();
    config.bootstrap.shards = 8;
    // Longer than other tests of this process can keep a radiant from being heard.
    config.membership.suspicion_ms = 2_000;
    config.membership.down_grace_ms = 3_000;
    config
}

/// Three founders, one after the other by id, and spares.
async fn founders_and(spares: usize, folder: &Path, ports: &[u16], engine: &str) -> Vec<Radiant> {
    let starting: Vec<_> = (0..FOUNDERS).map(|i| start(impatient(folder, ports, i, engine))).collect();
    let mut radiants = Vec::new();
    for radiant in starting {
        radiants.push(radiant.open().await);
    }
    for i in FOUNDERS..FOUNDERS + spares {
        radiants.push(start(impatient(folder, ports, i, engine)).open().await);
    }
    radiants
}

/// Waits until a radiant's configuration is at rest and as it should be.
async fn settles(radiant: &Radiant, what: &str, holds: impl Fn(&Topology) -> bool) {
    eventually(what, || {
        let topology = radiant.running.cluster.map.topology();
        topology.orders.iter().all(|order| !order.is_changing()) && holds(&topology)
    })
    .await;
}

/// A chain that waits for one who was not heard for a moment cannot lose another.
fn whole(topology: &Topology) -> bool {
    topology.orders.iter().all(|order| order.members.len() == FOUNDERS)
}

fn id(radiant: &Radiant) -> RadiantId {
    radiant.running.cluster.me
}

/// Waits until a radiant has exactly the seats that its configuration gives it.
async fn seated(radiant: &Radiant) {
    let cluster = &radiant.running.cluster;
    eventually("the seats are those of the configuration", || {
        let topology = cluster.map.topology();
        let mut open: Vec<_> = cluster.orders.all().iter().map(|order| order.id()).collect();
        open.extend(cluster.control().map(|_| shardbearer_core::ids::OrderId::CONTROL));
        open.sort_unstable();
        open == topology.orders_of(cluster.me).map(|order| order.id).collect::<Vec<_>>()
    })
    .await;
}

async fn write(radiant: &Radiant, keys: std::ops::Range<usize>) {
    for key in keys {
        radiant.put(&format!("key-{key}"), "kept").await.expect("written");
    }
}

async fn all_there(radiant: &Radiant, keys: usize) {
    for key in 0..keys {
        let key = format!("key-{key}");
        assert_eq!(radiant.get(&key).await.as_deref(), Some("kept"), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spare_takes_the_seats_of_a_radiant_that_is_down() {
    for engine in ["openraft", "chain"] {
        let folder = tempfile::tempdir().expect("a folder");
        let ports = free_ports(4);
        let mut radiants = founders_and(1, folder.path(), &ports, engine).await;
        write(&radiants[0], 0..40).await;
        let dead = id(&radiants[1]);
        settles(&radiants[0], "all members count", whole).await;
        radiants.remove(1).stop().await;
        let spare = id(&radiants[2]);
        settles(&radiants[0], "the spare has all seats of the dead", |topology| {
            topology.is_spare(dead) && topology.orders_of(spare).count() == topology.orders.len()
        })
        .await;
        seated(&radiants[2]).await;
        // Another one may fail now: the spare counts, and has everything.
        settles(&radiants[0], "all members count", whole).await;
        write(&radiants[2], 40..60).await;
        radiants.remove(1).stop().await;
        write(&radiants[1], 60..80).await;
        all_there(&radiants[1], 80).await;
        // The dead one comes back as a spare and forgets what it had. Or takes the seats of the next one.
        let back = start(impatient(folder.path(), &ports, 1, engine)).open().await;
        settles(&back, "it takes the seats of the next that is down", |topology| {
            topology.orders_of(dead).count() == topology.orders.len()
        })
        .await;
        seated(&back).await;
        all_there(&back, 80).await;
        radiants.push(back);
        for radiant in radiants {
            radiant.stop().await;
        }
    }
}

fn request(action: pb::member_request::Action, radiant: &str) -> pb::MemberRequest {
    pb::MemberRequest { action: action.into(), radiant: radiant.into(), ..pb::MemberRequest::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_move_radiants_in_and_out_while_it_serves() {
    use pb::member_request::Action;
    let folder = tempfile::tempdir().expect("a folder");
    let ports = free_ports(4);
    let mut radiants = founders_and(1, folder.path(), &ports, "openraft").await;
    write(&radiants[0], 0..40).await;
    let [first, spare] = [id(&radiants[0]), id(&radiants[3])];
    let ask = async |request: pb::MemberRequest| {
        radiants[3].running.cluster.member(request).await.expect("answered")
    };

    let dry = ask(pb::MemberRequest { dry_run: true, ..request(Action::Leave, "r0") }).await;
    assert!(!dry.done && dry.blockers.is_empty() && dry.steps.len() >= 4, "{dry:?}");
    let unknown = radiants[3].running.cluster.member(request(Action::Drain, "nobody")).await;
    let why = unknown.expect_err("there is no such radiant").to_string();
    assert!(why.contains("there are r0, r1, r2, r3"), "{why}");

    let joined = ask(request(Action::Join, "r3")).await;
    assert!(joined.done, "{joined:?}");
    settles(&radiants[0], "seats are spread", |topology| {
        let data = |radiant| topology.orders_of(radiant).filter(|order| !order.id.is_control()).count();
        data(spare) == 2 && data(first) >= 2
    })
    .await;
    write(&radiants[1], 40..60).await;

    let drained = ask(request(Action::Drain, "r0")).await;
    assert!(drained.done && !drained.steps.is_empty(), "{drained:?}");
    for radiant in &radiants {
        settles(radiant, "it has no seat any more", |topology| topology.is_spare(first)).await;
    }
    seated(&radiants[0]).await;
    assert!(radiants[0].running.cluster.engine(shardbearer_core::ids::OrderId::CONTROL).is_none());
    all_there(&radiants[0], 60).await;

    let refused = ask(request(Action::Drain, "r0")).await;
    assert!(!refused.done && refused.blockers[0].contains("draining already"), "{refused:?}");
    let left = ask(request(Action::Leave, "r0")).await;
    assert!(left.done, "{left:?}");
    settles(&radiants[1], "it has left", |topology| {
        topology.radiant(first).is_some_and(|radiant| radiant.standing == Standing::Gone)
    })
    .await;
    radiants.remove(0).ended().await;
    start(impatient(folder.path(), &ports, 0, "openraft")).open().await.ended().await;
    all_there(&radiants[2], 60).await;
    // Its name and its address are free for another one.
    std::fs::remove_dir_all(folder.path().join("r0")).expect("nobody uses it");
    let another = start(impatient(folder.path(), &ports, 0, "openraft")).open().await;
    let topology = another.running.cluster.map.topology();
    assert!(id(&another) != first && topology.is_spare(id(&another)), "{topology:?}");
    radiants.push(another);
    for radiant in radiants {
        radiant.stop().await;
    }
}
