//! Cluster-aware clients that others wrote, with the settings they come with, while shards move and a herald is killed: no
//! call of theirs fails, and what was acknowledged is there in the end.
//!
//! redis-py's `RedisCluster`, in both protocols, and the asynchronous cluster client of the crate `redis`. What they do by
//! themselves is all that is allowed: redis-py asks for the map and tries again three times, without a pause, where a
//! connection breaks; the crate tries 16 times. Both follow `MOVED`.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use rand::SeedableRng;
use rand::rngs::StdRng;
use redis::AsyncCommands;
use redis::cluster::ClusterClient;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::desk::{Desk, ENDS_WITHIN};
use super::foreign::{python, skipped};
use super::harness::{Cluster, PATIENCE};

const MOVES: usize = 10;
/// So many moves come before the kill.
const MOVES_BEFORE: usize = 5;
const KEYS: u64 = 200;

/// A client from Python.
struct Python {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Python {
    fn start(interpreter: &Path, protocol: &str, doors: &[String]) -> Python {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/processes/foreign.py");
        let mut command = Command::new(interpreter);
        command.arg(script).args(["through", protocol]).args(doors);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Python { child, said }
    }

    async fn begun(mut self) -> Python {
        let mut line = String::new();
        timeout(PATIENCE, self.said.read_line(&mut line)).await.expect("it begins in time").unwrap();
        if line.trim() != "begun" {
            self.end().await;
            panic!("it did not begin: {line}");
        }
        self
    }

    /// Tells it to read everything back; what it says of that.
    async fn end(mut self) -> String {
        drop(self.child.stdin.take());
        let (mut said, mut complained) = (String::new(), String::new());
        let mut errors = self.child.stderr.take().unwrap();
        let both = async {
            tokio::join!(self.said.read_to_string(&mut said), errors.read_to_string(&mut complained))
                .0
                .unwrap();
            self.child.wait().await.unwrap()
        };
        let status = timeout(PATIENCE, both).await.expect("it ends in time");
        assert!(status.success(), "a call failed: {status}\n{complained}");
        said
    }
}

/// The asynchronous client of the crate `redis`. Its blocking sibling asks an address that refuses it 16 times within a
/// moment, and nobody for a new map: that fails with any cluster one of whose nodes is killed.
struct Rust {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    task: JoinHandle<Duration>,
}

impl Rust {
    fn start(doors: &[String]) -> Rust {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::<AtomicU64>::default());
        let doors = doors.iter().map(|door| format!("redis://{door}")).collect();
        let task = tokio::spawn(Rust::run(doors, stop.clone(), written.clone()));
        Rust { stop, written, task }
    }

    /// The longest time of a write and its read.
    async fn run(doors: Vec<String>, stop: Arc<AtomicBool>, written: Arc<AtomicU64>) -> Duration {
        let mut connection = ClusterClient::new(doors).unwrap().get_async_connection().await.unwrap();
        let key = |number: u64| format!("through-rust-{}", number % KEYS);
        let (mut number, mut longest) = (0, Duration::ZERO);
        while !stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            connection.set::<_, _, ()>(key(number), number).await.expect("no call fails");
            assert_eq!(connection.get(key(number)).await, Ok(number), "it was acknowledged");
            longest = longest.max(began.elapsed());
            number += 1;
            written.store(number, Ordering::Relaxed);
        }
        for number in number.saturating_sub(KEYS)..number {
            assert_eq!(connection.get(key(number)).await, Ok(number), "it was acknowledged");
        }
        longest
    }

    async fn begun(&self) {
        let start = Instant::now();
        while self.written.load(Ordering::Relaxed) < 50 {
            assert!(start.elapsed() < PATIENCE && !self.task.is_finished(), "it does not begin");
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end(self) -> String {
        self.stop.store(true, Ordering::Relaxed);
        let longest = self.task.await.expect("no call failed").as_secs_f64();
        let count = self.written.load(Ordering::Relaxed);
        format!("redis-rs: {count} writes and reads, the longest pair {longest:.2} s\n")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_clients_of_others_see_no_error_through_ten_moves_and_a_failover() {
    let mut cluster = Cluster::started(3).await;
    let doors = cluster.resp_doors();
    let python = python();
    let mut pythons = Vec::new();
    match &python {
        Ok((interpreter, _)) => {
            for protocol in ["2", "3"] {
                pythons.push(Python::start(interpreter, protocol, &doors));
            }
        }
        Err(why) => skipped(&format!("no Python: {why}")),
    }
    let rust = Rust::start(&doors);
    rust.begun().await;
    let pythons = join_all(pythons.into_iter().map(Python::begun)).await;
    let (desk, mut dice) = (Desk::at(&cluster).await, StdRng::seed_from_u64(1));
    let mut killed = None;
    for number in 0..MOVES {
        let begun = desk.begun(&mut dice).await;
        if number == MOVES_BEFORE {
            let victim = cluster.leading().await[0];
            cluster.radiants[victim].kill();
            killed = Some(victim);
        }
        desk.over(Some(begun.id), ENDS_WITHIN).await;
    }
    cluster.radiants[killed.expect("somebody led")].start();
    cluster.ready().await;
    let completed = desk.all_moves().await.iter().filter(|record| record.phase == "collected").count();
    println!("{completed} moves were completed");
    print!("{}", rust.end().await);
    for python in pythons {
        print!("{}", python.end().await);
    }
    assert!(completed >= MOVES - 1, "but for the one that the kill met");
}
