//! Many clients that write all the time: through the Redis door, and with the smart client.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use shardbearer_client::Client;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::harness::{Cluster, PATIENCE};
use super::history::{History, Outcome};
use super::resp::{Connection, Reply};

/// After this long without a reply a Redis client gives up its connection.
const REPLY_MAX: Duration = Duration::from_secs(3);
/// Before a client whose radiant is away tries the next.
const PAUSE: Duration = Duration::from_millis(5);

/// How much load.
#[derive(Clone, Copy)]
pub struct Clients {
    pub resp: usize,
    pub native: usize,
}

struct Shared {
    history: Mutex<History>,
    acknowledged: AtomicU64,
    stop: AtomicBool,
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn put(&self, key: &str, value: &str, outcome: Outcome) {
        self.history.lock().put(key, value, outcome);
        self.count(outcome);
    }

    fn increment(&self, key: &str, outcome: Outcome, told: i64) {
        self.history.lock().increment(key, outcome, told);
        self.count(outcome);
    }

    fn count(&self, outcome: Outcome) {
        if outcome == Outcome::Acknowledged {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Load that runs until it is ended.
pub struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Starts it. `life` makes keys differ from those of other loads on the same cluster.
    pub async fn start(cluster: &Cluster, clients: Clients, life: &str) -> Load {
        let shared = Arc::new(Shared {
            history: Mutex::default(),
            acknowledged: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        for client in 0..clients.resp {
            let doors = cluster.resp_doors();
            tasks.spawn(resp_client(shared.clone(), doors, format!("{life}-resp{client}"), client));
        }
        if clients.native > 0 {
            let native = cluster.client().await;
            for client in 0..clients.native {
                tasks.spawn(native_client(
                    shared.clone(),
                    native.clone(),
                    format!("{life}-native{client}"),
                    client,
                ));
            }
        }
        Load { shared, tasks }
    }

    /// Waits until so many more commands were acknowledged.
    pub async fn progress(&self, more: u64) {
        let goal = self.shared.acknowledged.load(Ordering::Relaxed) + more;
        let start = Instant::now();
        loop {
            let now = self.shared.acknowledged.load(Ordering::Relaxed);
            if now >= goal {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "no progress: {now} of {goal} acknowledged");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Lets every client finish the command it is at.
    pub async fn end(mut self) -> History {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut *self.shared.history.lock())
    }
}

/// Puts and increments through one door, until that is closed; then the next.
async fn resp_client(shared: Arc<Shared>, doors: Vec<String>, name: String, first: usize) {
    let mut numbers = 0..u64::MAX;
    for door in (0..doors.len()).cycle().skip(first % doors.len()) {
        if !shared.goes_on() {
            return;
        }
        let Ok(mut connection) = Connection::open(&doors[door]).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        for number in numbers.by_ref() {
            let (key, value) = (format!("{name}-{number}"), format!("value {number} of {name}"));
            let reply = connection.call_within(&["SET", &key, &value], REPLY_MAX).await;
            let outcome = outcome(&reply);
            shared.put(&key, &value, outcome);
            if outcome != Outcome::Acknowledged || !shared.goes_on() {
                break;
            }
            let counter = format!("resp-counter{}", number % 16);
            let reply = connection.call_within(&["INCR", &counter], REPLY_MAX).await;
            let outcome = self::outcome(&reply);
            let told = if let Ok(Reply::Integer(told)) = reply { told } else { 0 };
            shared.increment(&counter, outcome, told);
            if outcome != Outcome::Acknowledged || !shared.goes_on() {
                break;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What a reply says of a write. Only `UNKNOWN` and silence leave it open.
fn outcome(reply: &std::io::Result<Reply>) -> Outcome {
    match reply {
        Ok(Reply::Error(why)) if why.starts_with("UNKNOWN ") => Outcome::Unknown,
        Ok(Reply::Error(_)) => Outcome::Refused,
        Ok(_) => Outcome::Acknowledged,
        Err(_) => Outcome::Unknown,
    }
}

/// The same with the smart client, whose counters are exact: it repeats an increment under the same number.
async fn native_client(shared: Arc<Shared>, client: Client, name: String, index: usize) {
    let outcome = |error: &shardbearer_client::Error| match error.may_have_happened() {
        true => Outcome::Unknown,
        false => Outcome::Refused,
    };
    for number in 0.. {
        let (key, value) = (format!("{name}-{number}"), format!("value {number} of {name}"));
        match client.put(key.clone(), value.clone()).await {
            Ok(_) => shared.put(&key, &value, Outcome::Acknowledged),
            Err(error) => shared.put(&key, &value, outcome(&error)),
        }
        let counter = format!("native-counter{}", index % 4);
        match client.increment(counter.clone(), 1).await {
            Ok(number) => shared.increment(&counter, Outcome::Acknowledged, number.value),
            Err(error) => shared.increment(&counter, outcome(&error), 0),
        }
        if !shared.goes_on() {
            return;
        }
    }
}

/// All of these keys that there are, read through one door.
pub async fn read_all(door: &str, keys: &[String]) -> BTreeMap<String, String> {
    let mut connection = Connection::open(door).await.unwrap();
    let mut found = BTreeMap::new();
    for part in keys.chunks(500) {
        let commands: Vec<_> = part.iter().map(|key| vec!["GET", key.as_str()]).collect();
        for (key, reply) in part.iter().zip(connection.pipeline(&commands).await.unwrap()) {
            match reply {
                Reply::Bulk(Some(value)) => {
                    found.insert(key.clone(), value);
                }
                Reply::Bulk(None) => {}
                other => panic!("{key}: {other:?}"),
            }
        }
    }
    found
}

/// Reads everything and complains about the first things that cannot be.
pub async fn check(cluster: &Cluster, history: &History) {
    check_through(cluster, 0, history).await;
}

/// The same through a door of choice.
pub async fn check_through(cluster: &Cluster, radiant: usize, history: &History) {
    let found = read_all(&cluster.radiants[radiant].resp, &history.keys()).await;
    let wrong = history.violations(&found);
    assert!(wrong.is_empty(), "{} violations: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
}
