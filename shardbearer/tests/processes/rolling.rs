//! Radiants that are told to stop hand over what they lead and tell their clients: a restart of one after the other is
//! noticed by nobody who asks again where he was refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use shardbearer_client::Client;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::harness::{Cluster, PATIENCE, eventually};
use super::resp::{Connection, Reply};

const RESP_CLIENTS: usize = 8;
const NATIVE_CLIENTS: usize = 4;
/// Commands that have to succeed between two restarts.
const SOME: u64 = 300;
/// From the signal to the end of the process.
const STOP_MAX: Duration = Duration::from_secs(8);

#[derive(Default)]
struct Tally {
    done: AtomicU64,
    /// Of any call, in milliseconds: each client writes a key of its own, so the longest time in which a key was not written.
    longest_ms: AtomicU64,
    over: AtomicBool,
}

impl Tally {
    async fn progress(&self) {
        let goal = self.done.load(Ordering::Relaxed) + SOME;
        eventually("clients go on", || self.done.load(Ordering::Relaxed) >= goal).await;
    }

    fn goes_on(&self, since: Instant) -> bool {
        let took_ms = u64::try_from(since.elapsed().as_millis()).unwrap();
        self.longest_ms.fetch_max(took_ms, Ordering::Relaxed);
        self.done.fetch_add(1, Ordering::Relaxed);
        !self.over.load(Ordering::Relaxed)
    }
}

/// A Redis client that goes to the next door when nobody opens, or when it is told that the radiant stops.
struct Wanderer {
    doors: Vec<String>,
    at: usize,
    connection: Option<Connection>,
}

impl Wanderer {
    async fn call(&mut self, words: &[&str]) -> Reply {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "{words:?}: no door is open");
            let door = &self.doors[self.at % self.doors.len()];
            let Some(connection) = &mut self.connection else {
                match Connection::open(door).await {
                    Ok(connection) => self.connection = Some(connection),
                    Err(_) => self.at += 1,
                }
                continue;
            };
            let reply = connection.call_within(words, PATIENCE).await;
            match reply
                .unwrap_or_else(|error| panic!("{words:?}, {door}: nobody knows what became of it: {error}"))
            {
                Reply::Error(why) if why.starts_with("LOADING ") => {
                    self.connection = None;
                    self.at += 1;
                }
                Reply::Error(why) => panic!("{words:?}, {door}: {why}"),
                reply => return reply,
            }
        }
    }
}

async fn resp_client(tally: Arc<Tally>, doors: Vec<String>, number: usize) -> (String, u64) {
    let counter = format!("rolling-resp-{number}");
    let mut client = Wanderer { doors, at: number, connection: None };
    for count in 1.. {
        let start = Instant::now();
        assert_eq!(client.call(&["INCR", &counter]).await, Reply::Integer(count));
        if !tally.goes_on(start) {
            return (counter, u64::try_from(count).unwrap());
        }
    }
    unreachable!("counted to the end");
}

async fn native_client(tally: Arc<Tally>, client: Client, number: usize) -> (String, u64) {
    let counter = format!("rolling-native-{number}");
    for count in 1.. {
        let start = Instant::now();
        let told = client.increment(counter.clone(), 1).await;
        assert_eq!(told.expect("no call fails").value, count, "{counter}");
        if !tally.goes_on(start) {
            return (counter, u64::try_from(count).unwrap());
        }
    }
    unreachable!("counted to the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_notices_that_one_radiant_after_the_other_is_restarted() {
    one_after_the_other("openraft").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_of_omnipaxos_notices_it() {
    one_after_the_other("omnipaxos").await;
}

/// Whoever stops is left out of its chain before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_of_a_chain_notices_it() {
    one_after_the_other("chain").await;
}

async fn one_after_the_other(engine: &str) {
    let mut cluster = Cluster::of(engine).await;
    let tally = Arc::new(Tally::default());
    let mut clients = JoinSet::new();
    for number in 0..RESP_CLIENTS {
        clients.spawn(resp_client(tally.clone(), cluster.resp_doors(), number));
    }
    let native = cluster.client().await;
    for number in 0..NATIVE_CLIENTS {
        clients.spawn(native_client(tally.clone(), native.clone(), number));
    }
    for index in 0..3 {
        tally.progress().await;
        let radiant = &mut cluster.radiants[index];
        let start = Instant::now();
        radiant.terminate();
        let status = radiant.ended().await;
        println!("{} stopped in {:?}", radiant.name, start.elapsed());
        assert_eq!(status.code(), Some(0), "{}", radiant.name);
        assert!(start.elapsed() < STOP_MAX, "{} took {:?}", radiant.name, start.elapsed());
        tally.progress().await;
        let longest_ms = tally.longest_ms.swap(0, Ordering::Relaxed);
        println!("{} stopped, longest wait of a client: {longest_ms} ms", radiant.name);
        radiant.start();
        cluster.ready().await;
        let longest_ms = tally.longest_ms.swap(0, Ordering::Relaxed);
        println!("it is back, longest wait of a client: {longest_ms} ms");
    }
    let history = String::from_utf8(cluster.run(&["epochs"]).stdout).unwrap();
    for radiant in &cluster.radiants {
        let left_out = history.contains(&format!("radiant {} is about to end", radiant.name));
        assert_eq!(left_out, engine == "chain", "{}: {history}", radiant.name);
    }
    tally.progress().await;
    tally.over.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        let (counter, count) = ended.unwrap();
        let value = native.get(counter.clone()).await.unwrap().expect("it was counted").value;
        assert_eq!(value, count.to_string(), "{counter}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_radiant_that_nobody_can_succeed_stops_in_time_all_the_same() {
    let mut cluster = Cluster::started(3).await;
    cluster.radiants[1].kill();
    cluster.radiants[2].kill();
    let start = Instant::now();
    cluster.radiants[0].terminate();
    assert_eq!(cluster.radiants[0].ended().await.code(), Some(0));
    assert!(start.elapsed() < STOP_MAX, "it took {:?}", start.elapsed());
}
