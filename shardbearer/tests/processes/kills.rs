//! `kill -9` under load: no acknowledged write is lost, and no counter counts twice.

use tokio::time::Instant;

use super::harness::Cluster;
use super::history::History;
use super::load::{Clients, Load, check};

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
