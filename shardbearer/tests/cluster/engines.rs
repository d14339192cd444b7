//! Clusters on engines other than the default.

use shardbearer::config::Config;

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
        assert!(topology.orders.iter().all(|order| order.engine == engine), "{engine}: {topology:?}");
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

/// A chain tolerates nobody's absence: it refuses in time, loses nothing, and goes on when all are back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_waits_for_the_radiant_that_is_down_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = free_ports(3);
    let configured = |i: usize| {
        let mut config = config(folder.path(), &format!("r{i}"), ports[i], &ports, 3);
        config.consensus.engine = "chain".into();
        config
    };
    let mut radiants = Vec::new();
    for radiant in (0..3).map(|i| start(configured(i))).collect::<Vec<_>>() {
        radiants.push(radiant.open().await);
    }
    for key in 0..30 {
        radiants[0].put(&format!("key-{key}"), "before").await.expect("written");
    }
    radiants.pop().expect("three").stop().await;
    eventually("no order believes that it could serve", || {
        radiants
            .iter()
            .flat_map(|one| one.running.cluster.orders.all())
            .all(|order| !order.engine().status().leading)
    })
    .await;
    radiants.push(start(configured(2)).open().await);
    for key in 0..30 {
        let key = format!("key-{key}");
        assert_eq!(radiants[2].get(&key).await.as_deref(), Some("before"));
        radiants[1].put(&key, "after").await.expect("written");
        assert_eq!(radiants[0].get(&key).await.as_deref(), Some("after"));
    }
    for radiant in radiants {
        radiant.stop().await;
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
