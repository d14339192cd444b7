//! Shards change hands while radiants are killed. Real processes, so that nothing is written down after the signal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shardbearer_client::pb::move_request::{Kind, Plan};
use shardbearer_client::{Client, pb};
use tokio::time::Instant;

use super::crashes::{Killed, connect, process};
use super::harness::*;

/// After all quorums are back a migration ends by itself within this time. Generous, since the machine that tests runs
/// other things too; on an idle one it takes about two seconds.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// What is kept under a key, in no other the same.
fn value(i: usize) -> String {
    format!("{i:04} ").repeat(1_000)
}

/// Adds 1 to a counter again and again, and checks that each addition was applied once.
async fn count(client: Client, stop: Arc<AtomicBool>) -> i64 {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let number = client.increment("{moving}-counter", 1).await.expect("no call fails");
        count += 1;
        assert_eq!(number.value, count, "applied once, and not forgotten");
    }
    count
}

async fn migration(client: &Client) -> Option<pb::Migration> {
    client.status().await.ok()?.migration
}

/// Waits until the last migration is over; says in which phase.
async fn ended(client: &Client, id: u64) -> String {
    let start = Instant::now();
    loop {
        let last = migration(client).await;
        match last {
            Some(last) if last.id >= id && matches!(last.phase.as_str(), "collected" | "returned") => {
                return last.phase;
            }
            other => assert!(start.elapsed() < ENDS_WITHIN, "it does not end: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The order that owns a shard, as soon as a radiant can tell.
async fn owner(client: &Client, shard: u64) -> u64 {
    let status = client.status().await.expect("somebody answers");
    status.shards.iter().find(|one| one.id == shard).expect("it exists").order
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_survives_the_death_of_anybody_at_any_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = free_ports(3);
    let start = |i: usize| Some(process(folder.path(), i, &ports, "openraft"));
    let mut processes: Vec<Option<Killed>> = (0..3).map(start).collect();
    let client = connect(&ports).await;
    for i in 0..200 {
        client.put(format!("{{moving}}-{i}"), value(i)).await.expect("written");
    }
    let (stop, shard) = (Arc::new(AtomicBool::new(false)), shard_of_the_keys(&client).await);
    let counting = tokio::spawn(count(connect(&ports).await, stop.clone()));
    let orders: Vec<u64> = {
        let status = client.status().await.expect("somebody answers");
        status.orders.iter().filter(|order| !order.control).map(|order| order.id).collect()
    };
    let (mut collected, mut returned) = (0, 0);
    for (round, delay_ms) in [0, 60, 150, 250, 400, 700].into_iter().enumerate() {
        let home = owner(&client, shard).await;
        let to = orders.iter().copied().find(|order| *order != home).expect("there are several");
        let begun = plan(&client, shard, to).await;
        // The moment of death is the point of the round, so it passes by the clock.
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        // The last round kills all at once.
        let victims = if round == 5 { 0..3 } else { round % 3..round % 3 + 1 };
        victims.clone().for_each(|i| processes[i] = None);
        victims.for_each(|i| processes[i] = start(i));
        match ended(&client, begun).await.as_str() {
            "collected" => collected += 1,
            "returned" => returned += 1,
            other => panic!("round {round} ended as {other:?}"),
        }
    }
    println!("{collected} moves were completed and {returned} called off");
    assert!(collected > 0, "no shard changed hands: {returned} moves were called off");
    stop.store(true, Ordering::Relaxed);
    let counted = counting.await.expect("no call failed");
    let record = client.get("{moving}-counter").await.expect("read").expect("it was written");
    assert_eq!(record.value, counted.to_string());
    assert!(counted > 20, "the client wrote meanwhile: {counted}");
    for i in 0..200 {
        let record = client.get(format!("{{moving}}-{i}")).await.expect("read");
        let record = record.unwrap_or_else(|| panic!("key {i} is gone"));
        assert!(record.value == value(i), "key {i} has another value of {} bytes", record.value.len());
    }
}

/// The only shard that holds anything.
async fn shard_of_the_keys(client: &Client) -> u64 {
    let start = Instant::now();
    loop {
        let status = client.status().await.expect("somebody answers");
        if let Some(shard) = status.shards.iter().find(|shard| shard.rows >= 200) {
            return shard.id;
        }
        assert!(start.elapsed() < PATIENCE, "nobody says where the rows are");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Begins a migration, also if the answer is lost; its id.
async fn plan(client: &Client, shard: u64, to: u64) -> u64 {
    let start = Instant::now();
    loop {
        let kind = Some(Kind::Plan(Plan { shard, to }));
        match client.move_shard(pb::MoveRequest { kind, ..Default::default() }).await {
            Ok(Some(migration)) => return migration.id,
            other => assert!(start.elapsed() < PATIENCE, "it does not begin: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
