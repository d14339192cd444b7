//! Replicas hold the same: `shardbearer verify` says so, also under load, and names the one that does not.

use std::time::Duration;

use serde_json::Value;
use shardbearer::storage;
use shardbearer_core::storage::{Batch, Durability, KeyRange, Space};
use tokio::time::Instant;

use super::desk::Desk;
use super::harness::{Cluster, PATIENCE};
use super::load::{Clients, Load, check};
use super::resp::{Connection, Reply};

/// What radiants log that do not store what was written.
const ALARM: &str = "a shard is not stored as it was written";

/// What `verify` found, and whether it was content.
fn verify(cluster: &Cluster) -> (bool, Vec<Value>) {
    let said = cluster.run(&["--output", "json", "verify"]);
    let found: Value = serde_json::from_slice(&said.stdout).unwrap_or_default();
    (said.status.success(), found.as_array().cloned().unwrap_or_default())
}

fn differences(verdict: &Value) -> &[Value] {
    verdict["differences"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Waits until all replicas could be compared; how many orders and rows that were. A difference is none that goes away.
pub async fn same_everywhere(cluster: &Cluster) -> (usize, u64) {
    let start = Instant::now();
    loop {
        let (content, found) = verify(cluster);
        assert!(found.iter().all(|verdict| differences(verdict).is_empty()), "replicas differ: {found:#?}");
        if content {
            let unsound = unsound(cluster);
            assert!(unsound.is_empty(), "what is stored is not what was written: {unsound:#?}");
            for radiant in &cluster.radiants {
                let said = radiant.log();
                let alarm = said.lines().find(|line| line.contains("rows are ") && line.contains(ALARM));
                assert_eq!(alarm, None, "{}", radiant.name);
            }
            return (found.len(), found.iter().filter_map(|verdict| verdict["rows"].as_u64()).sum());
        }
        assert!(start.elapsed() < PATIENCE, "not all are compared: {found:#?}");
    }
}

/// What radiants found that they do not store as it was written: their names and the shards.
fn unsound(cluster: &Cluster) -> Vec<(String, u64)> {
    let said = cluster.run(&["--output", "json", "status"]);
    let status: Value = serde_json::from_slice(&said.stdout).unwrap();
    let radiants = status["radiants"].as_array().unwrap().iter();
    let found = radiants.flat_map(|one| {
        let shards = one["unsound"].as_array().unwrap().iter().map(|found| found["shard"].as_u64().unwrap());
        shards.map(|shard| (one["name"].as_str().unwrap().to_owned(), shard))
    });
    found.collect()
}

/// Changes one byte of one user's row on a disk that nobody uses; returns the shard.
fn alter(data: &std::path::Path) -> u64 {
    let storage = storage::open("fjall", data, 16 << 20).unwrap();
    let first = |space: &Space| {
        let view = storage.view();
        let mut rows = view.scan(*space, &KeyRange::all()).map(Result::unwrap);
        rows.find(|(_, value)| value.ends_with(b"of us all")).map(|row| (*space, row))
    };
    let (space, (key, value)) = storage.spaces().unwrap().iter().find_map(first).expect("a row");
    let mut altered = value.to_vec();
    *altered.last_mut().unwrap() = b'x';
    let mut batch = Batch::default();
    batch.put(space, key, altered);
    storage.commit(batch, Durability::Synced).unwrap();
    let Space::Shard { shard, .. } = space else { panic!("{space:?} is no shard") };
    shard.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_are_written_to_are_compared_and_an_altered_one_is_named() {
    compared_and_named("openraft").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_are_those_of_other_engines() {
    for engine in ["omnipaxos", "chain"] {
        compared_and_named(engine).await;
    }
}

async fn compared_and_named(engine: &str) {
    let mut cluster = Cluster::of(engine).await;
    let mut door = Connection::open(&cluster.radiants[0].resp).await.unwrap();
    for number in 0..50 {
        let reply = door.call_within(&["SET", &format!("key {number}"), "a value of us all"], PATIENCE).await;
        assert!(matches!(reply, Ok(Reply::Simple(_))), "{reply:?}");
    }
    let load = Load::start(&cluster, Clients { resp: 4, native: 0 }, "verify").await;
    load.progress(100).await;
    let (orders, rows) = same_everywhere(&cluster).await;
    let history = load.end().await;
    assert!(orders >= 4 && rows > 150, "{orders} orders, {rows} rows");
    check(&cluster, &history).await;

    // In order, so that nothing of the log is applied again over what is altered.
    cluster.radiants[1].terminate();
    assert_eq!(cluster.radiants[1].ended().await.code(), Some(0));
    let shard = alter(&cluster.radiants[1].folder.join("data"));
    cluster.radiants[1].start();
    cluster.ready().await;
    // A chain goes on without whoever stops, and takes it back: before that there is nothing to compare.
    Desk::at(&cluster).await.settled(PATIENCE).await;
    let start = Instant::now();
    let found = loop {
        let (content, found) = verify(&cluster);
        assert!(!content, "it was not noticed");
        if found.iter().any(|verdict| !differences(verdict).is_empty()) {
            break found;
        }
        // A radiant that has just started may not answer yet.
        assert!(start.elapsed() < PATIENCE, "it was not noticed: {found:#?}");
    };
    let all: Vec<&Value> = found.iter().flat_map(differences).collect();
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!(all[0]["shard"], shard);
    let held = &all[0]["held"];
    assert_eq!(held["r1"], held["r3"]);
    assert_ne!(held["r1"], held["r2"], "r2 was altered");

    // Nobody reads the row, and nobody writes it; its radiant finds it.
    let start = Instant::now();
    while unsound(&cluster).is_empty() {
        assert!(start.elapsed() < PATIENCE, "it was not found");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(unsound(&cluster), [("r2".to_owned(), shard)]);
    let said = String::from_utf8(cluster.run(&["status"]).stdout).unwrap();
    assert!(said.contains(&format!("of shard {shard} of order ")), "{said}");

    // Once the altered row is written over, the rolling digests differ, and nobody has to ask.
    let mut door = Connection::open(&cluster.radiants[0].resp).await.unwrap();
    let start = Instant::now();
    for turn in 0.. {
        for number in 0..50 {
            let reply = door.call_within(&["SET", &format!("key {number}"), "another"], PATIENCE).await;
            assert!(matches!(reply, Ok(Reply::Simple(_))), "{reply:?}");
        }
        let status: Value =
            serde_json::from_slice(&cluster.run(&["--output", "json", "status"]).stdout).unwrap();
        let altered =
            status["radiants"].as_array().and_then(|all| all.iter().find(|one| one["name"] == "r2"));
        let id = altered.and_then(|altered| altered["id"].as_u64()).expect("an id");
        let problems: Vec<&str> =
            status["problems"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let told: Vec<&&str> = problems.iter().filter(|told| told.contains("differed")).collect();
        let of_altered = |told: &str| {
            told.contains(&format!("(radiant {id})")) || told.contains(&format!("and radiant {id} "))
        };
        assert!(told.iter().all(|told| of_altered(told)), "{told:?}");
        // With each of the two others.
        if told.len() == 2 {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "after {turn} turns: {problems:?}");
    }
}
