//! How long keys stand still: a few keys, spread over all orders, that are written again and again through the doors of
//! radiants that nothing is wrong with; and who leads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::harness::{Cluster, PATIENCE, http_get};
use super::super::resp::{Connection, Reply};

pub const KEYS: usize = 12;
/// Between two writes of a key.
const BEAT: Duration = Duration::from_millis(30);
/// Between two looks at who leads.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Default)]
struct Beats {
    written: AtomicU64,
    longest_ms: AtomicU64,
    /// How long each write took, in µs, since somebody asked.
    took: Mutex<Vec<u64>>,
}

/// Of the pulse, by its number.
pub fn key(number: usize) -> String {
    format!("pulse-{number}")
}

/// Radiants that should not be asked.
pub type Avoided = Arc<Mutex<BTreeSet<usize>>>;

/// Keys that are written all the time.
pub struct Pulse {
    keys: Vec<Arc<Beats>>,
    pub avoided: Avoided,
    heralds: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Pulse {
    pub fn start(cluster: &Cluster) -> Pulse {
        let (mut keys, mut tasks) = (Vec::new(), JoinSet::new());
        let (stop, avoided) = (Arc::new(AtomicBool::new(false)), Avoided::default());
        for number in 0..KEYS {
            let beats = Arc::new(Beats::default());
            keys.push(beats.clone());
            let doors = cluster.resp_doors();
            tasks.spawn(beat(beats, stop.clone(), avoided.clone(), key(number), doors, number));
        }
        let heralds = Arc::<AtomicU64>::default();
        let doors = cluster.radiants.iter().map(|radiant| radiant.http.clone()).collect();
        tasks.spawn(watch(doors, heralds.clone(), stop.clone(), avoided.clone()));
        Pulse { keys, avoided, heralds, stop, tasks }
    }

    /// Forgets the pauses so far.
    pub fn mark(&self) {
        for key in &self.keys {
            key.longest_ms.store(0, Ordering::Relaxed);
        }
    }

    /// How long each write of these keys took, in µs, since this was asked last. Of others it is forgotten.
    pub fn took(&self, of: &BTreeSet<usize>) -> Vec<u64> {
        let all = self.keys.iter().map(|key| std::mem::take(&mut *key.took.lock()));
        all.enumerate().filter(|(number, _)| of.contains(number)).flat_map(|(_, took)| took).collect()
    }

    /// Waits until every key was written so often since; how long that took.
    pub async fn beats(&self, more: u64) -> Duration {
        let start = Instant::now();
        let goals: Vec<u64> =
            self.keys.iter().map(|key| key.written.load(Ordering::Relaxed) + more).collect();
        while self.keys.iter().zip(&goals).any(|(key, goal)| key.written.load(Ordering::Relaxed) < *goal) {
            assert!(start.elapsed() < PATIENCE, "some key cannot be written although all is well again");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        start.elapsed()
    }

    /// The longest pause of any key that ended since the mark.
    pub fn longest(&self) -> Duration {
        let longest = self.keys.iter().map(|key| key.longest_ms.load(Ordering::Relaxed)).max();
        Duration::from_millis(longest.unwrap_or_default())
    }

    /// How often an order was seen to change its herald.
    pub async fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.heralds.load(Ordering::Relaxed)
    }
}

async fn beat(
    beats: Arc<Beats>,
    stop: Arc<AtomicBool>,
    avoided: Avoided,
    key: String,
    doors: Vec<String>,
    first: usize,
) {
    let mut last = Instant::now();
    for door in (0..doors.len()).cycle().skip(first) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        let bad = |avoided: &Avoided| avoided.lock().contains(&door);
        if bad(&avoided) {
            continue;
        }
        let Ok(mut connection) = Connection::open(&doors[door]).await else { continue };
        while !stop.load(Ordering::Relaxed) && !bad(&avoided) {
            let words = ["SET", &key, "beat"];
            let asked_at = Instant::now();
            let asked = tokio::select! {
                biased;
                // Not to be held up by the pause of a radiant that a client would leave.
                () = until(|| bad(&avoided)) => break,
                asked = connection.call_within(&words, Duration::from_secs(5)) => asked,
            };
            let Ok(Reply::Simple(_)) = asked else { break };
            beats.took.lock().push(u64::try_from(asked_at.elapsed().as_micros()).unwrap());
            let pause = u64::try_from(last.elapsed().as_millis()).unwrap();
            beats.longest_ms.fetch_max(pause, Ordering::Relaxed);
            beats.written.fetch_add(1, Ordering::Relaxed);
            last = Instant::now();
            tokio::time::sleep(BEAT).await;
        }
    }
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Counts changes of heralds as the first good radiant sees them.
async fn watch(doors: Vec<String>, heralds: Arc<AtomicU64>, stop: Arc<AtomicBool>, avoided: Avoided) {
    let mut known: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(LOOK).await;
        let good = (0..doors.len()).find(|door| !avoided.lock().contains(door));
        let Some(door) = good else { continue };
        let Some((200, body)) = http_get(&doors[door], "/v1/status").await else { continue };
        let status: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        for order in status["orders"].as_array().into_iter().flatten() {
            let number = |name: &str| order[name].as_u64().unwrap_or_default();
            let (id, term, herald) = (number("id"), number("term"), number("herald"));
            let last = known.entry(id).or_insert((term, herald));
            // Another radiant may know less than the one that was asked before.
            if herald != 0 && term > last.0 {
                if herald != last.1 {
                    heralds.fetch_add(1, Ordering::Relaxed);
                }
                *last = (term, herald);
            }
        }
    }
}
