//! Radiants become clusters, and stay what they were over restarts.

use shardbearer::config::Config;
use shardbearer::engine::Engines;
use shardbearer::gateway::Overview;
use shardbearer::node;

use super::harness::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn founders_of_any_number_become_one_cluster_that_serves() {
    for count in [1, 3, 5, 7] {
        let (_folder, radiants) = cluster(count).await;
        let ids: Vec<_> =
            radiants.iter().map(|radiant| radiant.running.cluster.map.topology().cluster).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{count} radiants, one cluster");
        for (i, radiant) in radiants.iter().enumerate() {
            for key in 0..20 {
                radiant.put(&format!("{i}-{key}"), "value").await.expect("written");
            }
        }
        for radiant in &radiants {
            assert_eq!(radiant.get("0-7").await.as_deref(), Some("value"));
        }
        for radiant in radiants {
            radiant.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_was_stopped_comes_back_with_its_data() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = free_ports(3);
    let configs: Vec<_> =
        (0..3).map(|i| config(folder.path(), &format!("r{i}"), ports[i], &ports, 3)).collect();
    let mut cluster_id = None;
    for round in 0..3 {
        // Any order of starts, and never all at once.
        let mut radiants = Vec::new();
        let starting: Vec<_> = (0..3).map(|i| start(configs[(i + round) % 3].clone())).collect();
        for radiant in starting {
            radiants.push(radiant.open().await);
        }
        let id = radiants[0].running.cluster.map.topology().cluster;
        assert_eq!(*cluster_id.get_or_insert(id), id, "round {round}");
        for earlier in 0..round {
            let value = radiants[round].get(&format!("round-{earlier}")).await;
            assert_eq!(value.as_deref(), Some("kept"), "round {round}, key of round {earlier}");
        }
        radiants[0].put(&format!("round-{round}"), "kept").await.expect("written");
        for radiant in radiants {
            radiant.stop().await;
        }
    }
}

/// Refuted by radiants that look for each other only where the configuration has them: then nobody could tell the
/// control order the new addresses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn radiants_that_all_moved_at_once_find_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut former = String::new();
    for round in 0..2 {
        let ports = free_ports(3);
        let starting: Vec<_> = (0..3)
            .map(|i| start(config(folder.path(), &format!("r{i}"), ports[i], &[ports[(i + 1) % 3]], 3)))
            .collect();
        let mut radiants = Vec::new();
        for radiant in starting {
            radiants.push(radiant.open().await);
        }
        if round == 0 {
            radiants[0].put("key", "value").await.expect("written");
            former = radiants[0].running.cluster.doors.grpc.clone();
        } else {
            assert_eq!(radiants[1].get("key").await.as_deref(), Some("value"));
            eventually("everybody is known where it is", || {
                let topology = radiants[2].running.cluster.map.topology();
                let mut listed: Vec<_> =
                    topology.radiants.iter().map(|radiant| radiant.doors.grpc.clone()).collect();
                let mut real: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
                listed.sort();
                real.sort();
                assert!(!real.contains(&former));
                listed == real
            })
            .await;
        }
        for radiant in radiants {
            radiant.stop().await;
        }
    }
}

/// Refuted by a status that goes on naming whoever led last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_herald_without_a_majority_is_none() {
    let (_folder, mut radiants) = cluster(3).await;
    let cluster = radiants[2].running.cluster.clone();
    let all = cluster.map.topology();
    eventually("all orders are led", || cluster.status().health == "ok").await;
    radiants.remove(0).stop().await;
    radiants.remove(0).stop().await;
    eventually("nothing is served, and that is said", || {
        let status = cluster.status();
        status.health == "down"
            && status.orders.len() == all.orders.len()
            && status.orders.iter().all(|order| order.state == "down" && order.herald == 0)
            && status.shards.iter().all(|shard| shard.state == "down")
            && status.radiants.iter().all(|radiant| radiant.leads.is_empty())
    })
    .await;
    // A write gets no further than a proposal would begin, and its client is told so.
    let client = shardbearer_client::Client::builder().endpoint(&cluster.doors.grpc);
    let time = std::time::Duration::from_secs(4);
    let client = client.timeout(time).attempt_timeout(time).connect().await.expect("it answers");
    let error = client.put("key", "value").await.expect_err("nobody is left to agree");
    assert!(!error.may_have_happened(), "{error}");
    let error = client.with_timeout(PATIENCE).epochs().await.expect_err("nobody is left to ask").to_string();
    assert!(error.contains("the control order has no herald"), "{error}");
    drop((client, cluster));
    radiants.remove(0).stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_radiant_joins_as_a_spare_and_serves_by_forwarding() {
    let (folder, radiants) = cluster(3).await;
    radiants[0].put("key", "value").await.expect("written");
    let grpc = radiants[1].running.cluster.doors.grpc.clone();
    let neighbor: u16 = grpc.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let port = free_ports(1)[0];
    let late = config(folder.path(), "late", port, &[neighbor], 3);
    let late_radiant = start(late.clone()).open().await;
    assert_eq!(late_radiant.get("key").await.as_deref(), Some("value"));
    let first = &radiants[0].running.cluster;
    eventually("everybody knows the spare", || {
        let topology = first.map.topology();
        topology.radiants.len() == 4 && topology.is_spare(late_radiant.running.cluster.me)
    })
    .await;
    // It comes back as what it was, also with another address.
    late_radiant.stop().await;
    let mut moved = late;
    moved.listen.grpc = format!("127.0.0.1:{}", free_ports(1)[0]);
    let again = start(moved.clone()).open().await;
    assert_eq!(again.get("key").await.as_deref(), Some("value"));
    eventually("its new address is known", || {
        first.map.topology().radiants.iter().any(|radiant| radiant.doors.grpc == moved.listen.grpc)
    })
    .await;
    again.stop().await;
    for radiant in radiants {
        radiant.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_machine_is_said_in_a_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_ports(1)[0];
    let good = config(folder.path(), "one", port, &[], 1);
    let radiant = start(good.clone()).open().await;
    let refused = |config: Config| match node::prepare(config, Engines::default()) {
        Ok(_) => panic!("it should not be prepared"),
        Err(error) => error.to_string(),
    };
    let why = refused(good.clone());
    assert!(why.contains("in use by another process (pid"), "{why}");
    let mut elsewhere = good.clone();
    elsewhere.radiant.data_dir = folder.path().join("elsewhere");
    let why = refused(elsewhere);
    assert!(why.contains("another process does already"), "{why}");
    radiant.stop().await;
    let mut renamed = good.clone();
    renamed.radiant.name = "two".into();
    let why = refused(renamed);
    assert!(why.contains("belongs to radiant \"one\""), "{why}");
    let mut file = good.clone();
    file.radiant.data_dir = folder.path().join("file");
    std::fs::write(&file.radiant.data_dir, "x").expect("written");
    let why = refused(file);
    assert!(why.contains("is no directory"), "{why}");
    let mut other_engine = good.clone();
    other_engine.storage.engine = "sled".into();
    let why = start(other_engine).fail().await;
    assert!(why.contains("written by storage engine \"fjall\""), "{why}");
    std::fs::rename(good.radiant.data_dir.join("log"), folder.path().join("log")).expect("moved");
    let why = start(good.clone()).fail().await;
    assert!(why.contains("could break promises"), "{why}");
    std::fs::rename(folder.path().join("log"), good.radiant.data_dir.join("log")).expect("moved");
    start(good).open().await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_storage_engine_keeps_the_data_of_a_cluster_over_restarts() {
    for engine in shardbearer::storage::ENGINES {
        let folder = tempfile::tempdir().expect("a folder");
        let ports = free_ports(3);
        for round in 0..2 {
            let mut radiants = Vec::new();
            for i in 0..3 {
                let mut config = config(folder.path(), &format!("r{i}"), ports[i], &ports, 3);
                config.storage.engine = engine.into();
                radiants.push(start(config));
            }
            let mut open = Vec::new();
            for radiant in radiants {
                open.push(radiant.open().await);
            }
            for key in 0..50 {
                let key = format!("key-{key}");
                if round == 0 {
                    open[0].put(&key, engine).await.expect("written");
                } else {
                    assert_eq!(open[2].get(&key).await.as_deref(), Some(engine));
                }
            }
            for radiant in open {
                radiant.stop().await;
            }
        }
    }
}

/// Who comes with a name that the cluster knows of another data directory ends and says what to do; so do two of one name
/// before there is a cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_name_ends_the_radiant_with_a_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = free_ports(3);
    let first = start(config(folder.path(), "one", ports[0], &[], 1)).open().await;
    let mut second = config(folder.path(), "one", ports[1], &ports[..1], 1);
    second.radiant.data_dir = folder.path().join("elsewhere");
    let why = start(second).fail().await;
    assert!(why.contains("has a radiant \"one\"") && why.contains("under another [radiant] name"), "{why}");
    first.stop().await;
    let twin = |place: usize| {
        let mut config = config(folder.path(), "twin", ports[place], &ports[1..], 2);
        config.radiant.data_dir = folder.path().join(format!("twin-{place}"));
        config.bootstrap.window_ms = 500;
        start(config)
    };
    let (one, other) = (twin(1), twin(2));
    for why in [one.fail().await, other.fail().await] {
        assert!(why.contains("two radiants are called \"twin\""), "{why}");
    }
}
