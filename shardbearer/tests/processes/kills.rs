//! `kill -9` under load: no acknowledged write is lost, and no counter counts twice.

use std::collections::BTreeSet;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::desk::{Desk, ENDS_WITHIN};
use super::harness::Cluster;
use super::history::History;
use super::load::{Clients, Load, check};
use super::replicas::same_everywhere;

const CLIENTS: Clients = Clients { resp: 24, native: 8 };
/// Acknowledged writes between two events: enough to be in the middle of things.
const SOME: u64 = 250;

/// Everything is as the clients were told, and the smart client's increments are exact.
async fn verify(cluster: &mut Cluster, load: Load, name: &str, start: Instant) {
    cluster.ready().await;
    let history = load.end().await;
    check(cluster, &history).await;
    exact(&history);
    let (all, acknowledged) = (history.keys().len(), history.acknowledged());
    println!("{name}: {acknowledged} acknowledged writes, {all} keys, {:?}", start.elapsed());
}

fn exact(history: &History) {
    let native = history.counters.iter().filter(|(name, _)| name.starts_with("native"));
    for (name, counter) in native {
        assert_eq!(counter.unknown, 0, "{name}: sessions leave nothing open");
    }
}

/// Kills one after the other; the next one when this one counts again.
async fn kill_in_turn(cluster: &mut Cluster, load: &Load, rounds: usize) {
    for round in 0..rounds {
        load.progress(SOME).await;
        cluster.radiants[round % 3].kill();
        load.progress(SOME).await;
        cluster.radiants[round % 3].start();
        cluster.ready().await;
    }
}

async fn kill_all(cluster: &mut Cluster, load: &Load, rounds: usize) {
    for _ in 0..rounds {
        load.progress(SOME).await;
        cluster.kill_all();
        cluster.start_all();
        cluster.ready().await;
    }
    load.progress(SOME).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_radiant_after_another_is_killed() {
    let mut cluster = Cluster::started(3).await;
    let start = Instant::now();
    let load = Load::start(&cluster, CLIENTS, "one").await;
    kill_in_turn(&mut cluster, &load, 12).await;
    verify(&mut cluster, load, "one at a time", start).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_five_are_killed_at_once() {
    let mut cluster = Cluster::prepared(5).await;
    // Two of the usual three members would be a majority of an order.
    cluster.set("bootstrap.replication=5");
    cluster.start_all();
    cluster.ready().await;
    let start = Instant::now();
    let load = Load::start(&cluster, CLIENTS, "two").await;
    for round in 0..6 {
        let two = [round % 5, (round + 2) % 5];
        load.progress(SOME).await;
        for radiant in two {
            cluster.radiants[radiant].kill();
        }
        load.progress(SOME).await;
        for radiant in two {
            cluster.radiants[radiant].start();
        }
        cluster.ready().await;
    }
    verify(&mut cluster, load, "two of five", start).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_are_killed_at_once() {
    let mut cluster = Cluster::started(3).await;
    let start = Instant::now();
    let load = Load::start(&cluster, CLIENTS, "all").await;
    kill_all(&mut cluster, &load, 2).await;
    verify(&mut cluster, load, "all at once", start).await;
}

/// One, and then all at once, of each engine; chaos kills them as often as it is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_engines_lose_nothing_either() {
    for engine in ["omnipaxos", "chain"] {
        let mut cluster = Cluster::of(engine).await;
        let start = Instant::now();
        let load = Load::start(&cluster, CLIENTS, engine).await;
        kill_in_turn(&mut cluster, &load, 1).await;
        kill_all(&mut cluster, &load, 1).await;
        verify(&mut cluster, load, engine, start).await;
    }
}

/// One cluster whose orders run three engines: shards go from one to the other, and radiants die meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_three_engines_loses_nothing() {
    let mut cluster = Cluster::prepared(3).await;
    cluster.set(r#"consensus.engines=["openraft", "omnipaxos", "chain"]"#);
    cluster.start_all();
    cluster.ready().await;
    let desk = Desk::at(&cluster).await;
    let status = desk.status().await.expect("it is ready");
    let data = status.orders.iter().filter(|order| !order.control);
    let engines: BTreeSet<&str> = data.map(|order| order.engine.as_str()).collect();
    assert_eq!(engines, BTreeSet::from(["openraft", "omnipaxos", "chain"]));
    let engine_of =
        |id: u64| status.orders.iter().find(|order| order.id == id).map(|order| order.engine.clone());
    let (start, mut dice) = (Instant::now(), StdRng::seed_from_u64(1));
    let load = Load::start(&cluster, CLIENTS, "mixed").await;
    for radiant in 0..3 {
        let begun = desk.begun(&mut dice).await;
        assert_ne!(engine_of(begun.from), engine_of(begun.to), "every order has an engine of its own");
        cluster.radiants[radiant].kill();
        load.progress(SOME).await;
        cluster.radiants[radiant].start();
        cluster.ready().await;
        desk.over(Some(begun.id), ENDS_WITHIN).await;
    }
    kill_all(&mut cluster, &load, 1).await;
    cluster.ready().await;
    let (orders, _) = same_everywhere(&cluster).await;
    assert_eq!(orders, status.orders.len());
    verify(&mut cluster, load, "three engines", start).await;
}
