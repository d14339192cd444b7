//! Clients that must never be refused or left without an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rand::Rng;
use shardbearer_core::ids::{SessionId, ShardId};
use shardbearer_core::kv::{Condition, Reply, RequestId};
use shardbearer_sim::history::{Answer, Ask};

use super::Scene;
use crate::clients::{Wanted, execute, operate, put};

/// What clients do.
#[derive(Clone)]
pub struct Habits {
    pub clients: usize,
    /// Whose doors they use.
    pub doors: Vec<usize>,
    /// Between an answer and the next question, in milliseconds.
    pub pause_ms: (u64, u64),
    /// For how long they wait for an answer.
    pub patience: Duration,
    /// Registers, and as many counters, that they share.
    pub keys: Vec<Bytes>,
    /// Whether every other client has a session and asks again elsewhere, as the native client does. The others ask
    /// once.
    pub sessions: bool,
    /// Whether nothing is written.
    pub reads_only: bool,
}

impl Habits {
    /// Of some clients at these doors.
    pub fn of(clients: usize, doors: impl IntoIterator<Item = usize>) -> Habits {
        Habits {
            clients,
            doors: doors.into_iter().collect(),
            pause_ms: (0, 50),
            patience: Duration::from_secs(5),
            keys: (0..24).map(|number| format!("key-{number}").into()).collect(),
            sessions: true,
            reads_only: false,
        }
    }
}

/// Clients at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    counted: Arc<Counted>,
    clients: Vec<tokio::sync::oneshot::Receiver<()>>,
}

#[derive(Default)]
struct Counted {
    calls: AtomicU64,
    slowest_ms: AtomicU64,
    failed: Mutex<Vec<String>>,
}

impl Load {
    /// Calls that were answered so far.
    pub fn calls(&self) -> u64 {
        self.counted.calls.load(Ordering::Relaxed)
    }

    /// The longest that a call took since this was asked the last time.
    pub fn slowest(&self) -> Duration {
        Duration::from_millis(self.counted.slowest_ms.swap(0, Ordering::Relaxed))
    }

    /// Has the clients stop; how many calls were answered, and which were not, in words.
    pub async fn end(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("clients end only when they are told");
        }
        (self.counted.calls.load(Ordering::Relaxed), std::mem::take(&mut *self.counted.failed.lock()))
    }

    /// Has the clients stop, and makes sure that no call failed; how many there were.
    pub async fn stop(self) -> u64 {
        let (calls, failed) = self.end().await;
        assert!(
            failed.is_empty(),
            "{} calls failed, the first are {:#?}",
            failed.len(),
            &failed[..failed.len().min(5)]
        );
        calls
    }
}

impl Scene {
    /// Sends clients to work.
    pub fn load(&self, name: &str, habits: &Habits) -> Load {
        let (stop, counted) = (Arc::new(AtomicBool::new(false)), Arc::new(Counted::default()));
        let clients = (0..habits.clients).map(|_| {
            let number = self.clients.fetch_add(1, Ordering::Relaxed);
            let (sender, ended) = tokio::sync::oneshot::channel();
            let (scene, habits, name) = (self.clone(), habits.clone(), name.to_owned());
            let (stop, counted) = (stop.clone(), counted.clone());
            self.life.spawn("client", async move {
                work(&scene, &name, number, &habits, &stop, &counted).await;
                // The test has failed otherwise.
                let _ = sender.send(());
            });
            ended
        });
        let clients = clients.collect();
        Load { stop, counted, clients }
    }
}

async fn work(
    scene: &Scene,
    name: &str,
    number: usize,
    habits: &Habits,
    stop: &AtomicBool,
    counted: &Counted,
) {
    let universe = &scene.cluster.universe;
    let mut rng = universe.rng(&format!("client {number} of {name}"));
    let session = SessionId(rng.random::<u128>() | 1);
    let mut requests = 0;
    while !stop.load(Ordering::Relaxed) {
        requests += 1;
        let key = &habits.keys[rng.random_range(0..habits.keys.len())];
        let value = || Bytes::from(format!("{name}-{number}-{requests}"));
        let (kind, ask) = match rng.random_range(0..if habits.reads_only { 2 } else { 8 }) {
            0..2 => ("register", Ask::Read),
            2..4 => ("register", Ask::Write(value())),
            4..6 => ("counter", Ask::Read),
            _ => ("counter", Ask::Add),
        };
        let key = Bytes::from([key.as_ref(), kind.as_bytes()].concat());
        let id = RequestId { session, number: requests, unanswered_from: requests, retry: false };
        let wanted = Wanted {
            client: number,
            first: habits.doors[rng.random_range(0..habits.doors.len())],
            id: (habits.sessions && number % 2 == 1).then_some(id),
            deadline: habits.patience,
        };
        let began = universe.now_ms();
        let answer = operate(&scene.cluster, &wanted, &key, ask.clone()).await;
        counted.slowest_ms.fetch_max(universe.now_ms() - began, Ordering::Relaxed);
        if matches!(answer, Answer::Unknown | Answer::Refused) {
            let first = wanted.first;
            let what = format!("{began} ms: {name} {number} at r{first}: {ask:?} of {key:?}: {answer:?}");
            counted.failed.lock().push(what);
        } else {
            counted.calls.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(habits.pause_ms.0..=habits.pause_ms.1)))
            .await;
    }
}

impl Scene {
    /// Fills a shard with so many rows of so many bytes.
    pub async fn rows(&self, shard: ShardId, bytes: usize, count: usize) {
        let running = self.running(0);
        let of_shard =
            |key: &Bytes| running.door.locate("default", key).is_some_and(|(found, _)| found == shard);
        let keys = (0..).map(|number| Bytes::from(format!("row-{number}"))).filter(of_shard);
        let value = Bytes::from(vec![b'x'; bytes]);
        for key in keys.take(count) {
            let put = put(&key, &value, Condition::Always);
            let written = execute(self.machine(0), put, Duration::from_secs(10)).await;
            assert!(matches!(written, Some(Ok(Reply::Written { .. }))), "{written:?}");
        }
    }
}
