//! Clients that write down every call for the oracle: registers with values that nobody else writes, conditional writes,
//! counters, lists that grow, deletes.
//!
//! Keys are few at a time, so that clients meet on them, and are left for fresh ones before their histories become hard
//! to judge. Those left behind are read now and then, and all of them at the end, so that a lost write shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use shardbearer_sim::recorder::Recorder;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::harness::{Cluster, PATIENCE};
use super::super::resp::{Connection, Reply};
use super::calls::{Ask, Caller};

/// Longer than the pauses of a radiant, so that what it answers when it goes on is heard.
pub const REPLY_MAX: Duration = Duration::from_secs(6);
/// Before a client whose radiant is away tries again, and after each refusal.
pub const BREATH: Duration = Duration::from_millis(10);
/// For the answer of a client that only reads, which then asks for another key.
const PROBE_MAX: Duration = Duration::from_millis(300);
/// From which number on clients only read.
const PROBES: usize = 500;
/// Calls on the same few keys.
const CALLS_A_GENERATION: u64 = 1200;
pub const REGISTERS: u64 = 10;
pub const COUNTERS: u64 = 4;
pub const LISTS: u64 = 2;

/// What all clients share.
pub struct Shared {
    pub recorder: Recorder,
    stop: AtomicBool,
    calls: AtomicU64,
    /// Errors by their first word.
    pub errors: Mutex<BTreeMap<String, u64>>,
}

impl Shared {
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Counts a call; of which generation its key should be.
    pub fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed) / CALLS_A_GENERATION
    }

    /// Of which generation those of the others are.
    pub fn generation(&self) -> u64 {
        self.calls.load(Ordering::Relaxed) / CALLS_A_GENERATION
    }
}

/// Load that runs until it is ended.
pub struct Load {
    pub shared: Arc<Shared>,
    tasks: JoinSet<()>,
    doors: Vec<String>,
}

impl Load {
    /// Clients at the Redis doors of all radiants, and native ones, all with dice of their own; and two at each door that
    /// only read.
    pub async fn start(cluster: &Cluster, resp: usize, native: usize, seed: u64) -> Load {
        let zero = Instant::now();
        let clock = move || u64::try_from(zero.elapsed().as_nanos()).unwrap();
        let shared = Arc::new(Shared {
            recorder: Recorder::new(clock),
            stop: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            errors: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        let doors = cluster.resp_doors();
        let dice = |number: usize| StdRng::seed_from_u64(seed.wrapping_mul(1000) + number as u64);
        let caller = |number: usize| Caller { shared: shared.clone(), number, dice: dice(number), values: 0 };
        for number in 0..resp {
            tasks.spawn(caller(number).through_resp(doors.clone()));
        }
        tasks.spawn(ballast(shared.clone(), doors.clone()));
        for (number, door) in doors.iter().enumerate() {
            // A radiant that is cut off may answer some keys and not others, one that stood still answers late.
            for (patience, within) in [PROBE_MAX, REPLY_MAX].into_iter().enumerate() {
                let probe = caller(PROBES + 2 * number + patience);
                tasks.spawn(probe.only_reading(door.clone(), within));
            }
        }
        if native > 0 {
            let client = cluster.client().await.with_timeout(REPLY_MAX);
            for number in resp..resp + native {
                tasks.spawn(caller(number).through_grpc(client.clone()));
            }
        }
        Load { shared, tasks, doors }
    }

    /// Calls begun.
    pub fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// Lets every client finish the call it is at; then each key is read, each generation through another door.
    pub async fn end(mut self) -> Arc<Shared> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        read_all(&self.shared, &self.doors).await;
        self.shared
    }
}

/// Reads every key there may be.
pub async fn read_all(shared: &Arc<Shared>, doors: &[String]) {
    let generations = shared.generation() + 1;
    for (number, door) in doors.iter().enumerate() {
        let dice = StdRng::seed_from_u64(0);
        let mut caller = Caller { shared: shared.clone(), number: 1000 + number, dice, values: 0 };
        let mut connection = Connection::open(door).await.unwrap();
        for generation in (number as u64..generations).step_by(doors.len()) {
            for key in keys(generation) {
                let answer = caller.resp(&mut connection, &key, &Ask::Get, PATIENCE).await;
                assert!(matches!(answer, Ok(Reply::Bulk(_))), "{key} cannot be read in the end: {answer:?}");
            }
        }
    }
}

/// All of a generation.
pub fn keys(generation: u64) -> impl Iterator<Item = String> {
    let names = [("r", REGISTERS), ("c", COUNTERS), ("l", LISTS)];
    names
        .into_iter()
        .flat_map(move |(kind, count)| (0..count).map(move |n| format!("g{generation}-{kind}{n}")))
}

/// Large values that nobody reads, so that log segments are closed and purged and data files rewritten.
async fn ballast(shared: Arc<Shared>, doors: Vec<String>) {
    let value = "ballast ".repeat(4096);
    for round in 0_usize.. {
        if !shared.goes_on() {
            return;
        }
        if let Ok(mut connection) = Connection::open(&doors[round % doors.len()]).await {
            for _ in 0..10 {
                let key = format!("ballast-{}", round % 64);
                let _ = connection.call_within(&["SET", &key, &value], REPLY_MAX).await;
                tokio::time::sleep(BREATH).await;
            }
        }
        tokio::time::sleep(BREATH).await;
    }
}
