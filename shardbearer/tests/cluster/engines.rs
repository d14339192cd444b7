//! Clusters on engines other than the default.

use shardbearer::config::Config;
use shardbearer::gateway::Overview as _;
use shardbearer::order::checks::{self, Check, Verdict};
use shardbearer_core::topology::Order;

use super::harness::*;

/// Founds a cluster of `count` radiants on an engine, stops and starts it, and finds its data again.
async fn serves_over_restarts(engine: &str, count: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = free_ports(count);
    let configured = |i: usize| -> Config {
        let neighbors = if count == 1 { &[][..] } else { &ports };
        let mut config = config(folder.path(), &format!("r{i}"), ports[i], neighbors, count as u32);
        config.consensus.engine = engine.into();
        config
    };
    for round in 0..3 {
        let starting: Vec<_> = (0..count).map(|i| start(configured((i + round) % count))).collect();
        let mut radiants = Vec::new();
        for radiant in starting {
            radiants.push(radiant.open().await);
        }
        let topology = radiants[0].running.cluster.map.topology();
        // Whoever decides on the members of a chain has to agree on his own.
        let expected = |control| if control && engine == "chain" { "openraft" } else { engine };
        let fits = |order: &Order| order.engine == expected(order.id.is_control());
        assert!(topology.orders.iter().all(fits), "{engine}: {topology:?}");
        for radiant in &radiants {
            for earlier in 0..round * 30 {
                let value = radiant.get(&format!("key-{earlier}")).await;
                assert_eq!(value.as_deref(), Some("kept"), "{engine}, round {round}, key {earlier}");
            }
        }
        for key in round * 30..(round + 1) * 30 {
            let written = radiants[key % count].put(&format!("key-{key}"), "kept").await;
            written.unwrap_or_else(|error| panic!("{engine}, round {round}, key {key}: {error}"));
        }
        for radiant in radiants {
            radiant.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn solo_keeps_the_data_of_one_radiant_over_restarts() {
    serves_over_restarts("solo", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chain_keeps_the_data_of_three_radiants_over_restarts() {
    serves_over_restarts("chain", 3).await;
}

/// A chain goes on without whoever is silent, head, middle or tail, and takes back who returns, with everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_goes_on_without_each_of_its_radiants_in_turn() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = free_ports(3);
    let configured = |i: usize| {
        let mut config = config(folder.path(), &format!("r{i}"), ports[i], &ports, 3);
        config.consensus.engine = "chain".into();
        config.membership.suspicion_ms = 1_500;
        config
    };
    let mut radiants = Vec::new();
    for radiant in (0..3).map(|i| start(configured(i))).collect::<Vec<_>>() {
        radiants.push(radiant.open().await);
    }
    let mut written = 0;
    for round in 0..3 {
        radiants.remove(0).stop().await;
        for _ in 0..30 {
            radiants[written % 2].put(&format!("key-{written}"), "kept").await.expect("two of three go on");
            written += 1;
        }
        radiants.push(start(configured(round)).open().await);
        let cluster = &radiants[0].running.cluster;
        eventually("it is taken back", || {
            let topology = cluster.map.topology();
            let whole = |order: &Order| order.members.len() == 3 && order.roster.learners.is_empty();
            topology.orders.iter().all(whole)
        })
        .await;
        for key in 0..written {
            let key = format!("key-{key}");
            assert_eq!(radiants[2].get(&key).await.as_deref(), Some("kept"), "{key}, round {round}");
        }
    }
    for radiant in radiants {
        radiant.stop().await;
    }
}

/// Whatever the engine, replicas tell of the same entries, so that what they hold can be compared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_of_each_engine_find_that_they_hold_the_same() {
    for engine in ["openraft", "omnipaxos", "chain"] {
        let one_order = |config: &mut Config| {
            config.consensus.engine = engine.into();
            config.bootstrap.orders = 1;
        };
        let (_folder, radiants) = cluster_with(3, one_order).await;
        let topology = radiants[0].running.cluster.map.topology();
        let order = topology.orders.iter().map(|order| order.id).find(|order| !order.is_control());
        let order = order.expect("one");
        // One at a time, so that each is an entry.
        for number in 0..2 * checks::EVERY {
            radiants[0].put(&format!("key {}", number % 10), &format!("{number}")).await.expect("written");
        }
        let held = |radiant: &Radiant| radiant.running.cluster.orders.find(order).map(|order| order.checks());
        eventually("all replicas are compared", || {
            let held: Vec<Vec<Check>> = radiants.iter().filter_map(held).collect();
            let verdicts = held.iter().map(|theirs| checks::compare(&held[0], theirs));
            let verdicts: Vec<Verdict> = verdicts.collect();
            assert!(
                verdicts.iter().all(|verdict| !matches!(verdict, Verdict::Different(_))),
                "{engine}: {held:?}"
            );
            verdicts == [Verdict::Same; 3]
        })
        .await;
        let told = radiants.iter().flat_map(|radiant| radiant.running.cluster.status().problems);
        assert!(told.into_iter().all(|problem| !problem.contains("differed")), "{engine}");
        for radiant in radiants {
            radiant.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn solo_with_several_founders_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = free_ports(2);
    let mut starting = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let mut config = config(folder.path(), &format!("r{i}"), *port, &ports, 2);
        config.consensus.engine = "solo".into();
        starting.push(start(config));
    }
    for radiant in starting {
        let why = radiant.fail().await;
        assert!(why.contains("its orders have one member, not 2"), "{why}");
    }
}
