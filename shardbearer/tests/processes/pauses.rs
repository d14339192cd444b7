//! How long keys stand still when a radiant goes, by force or in order, and that everything is led as before afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use shardbearer_state::placement::{SLOTS, slot_of};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::desk::Desk;
use super::harness::{Cluster, PATIENCE, eventually};
use super::resp::{Connection, Reply};

/// Shards of the table, as in the configuration's default.
const SHARDS: usize = 64;
/// Within which all shards are served again after a radiant was killed.
const KILLED_MAX: Duration = Duration::from_secs(2);
/// The same of chains, whose members are left out by others, who first have to take them for gone (`suspicion_ms`).
const CHAIN_KILLED_MAX: Duration = Duration::from_secs(3);
/// After a radiant was asked to go, or came back: an order's lead is handed over in milliseconds, but on a busy machine an
/// election may come in between.
const STOPPED_MAX: Duration = KILLED_MAX;
/// Between two writes of a key: the machine shall measure pauses, not throughput.
const BEAT: Duration = Duration::from_millis(20);

/// A key that is written again and again.
#[derive(Default)]
struct Beats {
    written: AtomicU64,
    longest_ms: AtomicU64,
}

/// Writes a key of each shard all the time and remembers the longest pause of each.
struct Pulse {
    keys: Vec<Arc<Beats>>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Pulse {
    /// Through these doors, which stay.
    async fn start(doors: &[String]) -> Pulse {
        let (mut keys, mut tasks) = (Vec::new(), JoinSet::new());
        let stop = Arc::new(AtomicBool::new(false));
        for (number, key) in key_of_each_shard().into_iter().enumerate() {
            let beats = Arc::new(Beats::default());
            keys.push(beats.clone());
            tasks.spawn(beat(beats, stop.clone(), key, doors[number % doors.len()].clone()));
        }
        let mut pulse = Pulse { keys, stop, tasks };
        pulse.beats(3).await;
        for key in &pulse.keys {
            key.longest_ms.store(0, Ordering::Relaxed);
        }
        pulse
    }

    /// Waits until every key was written so many times more.
    async fn beats(&mut self, more: u64) {
        let written = |beats: &Arc<Beats>| beats.written.load(Ordering::Relaxed);
        let goals: Vec<u64> = self.keys.iter().map(|key| written(key) + more).collect();
        let reached = || self.keys.iter().zip(&goals).all(|(key, goal)| written(key) >= *goal);
        eventually("every key is written", reached).await;
    }

    /// The longest pause of any key.
    async fn end(mut self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        let longest = self.keys.iter().map(|key| key.longest_ms.load(Ordering::Relaxed)).max();
        Duration::from_millis(longest.unwrap())
    }
}

/// The slots are dealt to the shards in equal runs, so that there is a key for each run.
fn key_of_each_shard() -> Vec<String> {
    let mut keys = vec![None; SHARDS];
    for number in 0.. {
        let key = format!("beat-{number}");
        let shard = usize::from(slot_of(key.as_bytes())) * SHARDS / SLOTS;
        keys[shard].get_or_insert(key);
        if keys.iter().all(Option::is_some) {
            break;
        }
    }
    keys.into_iter().flatten().collect()
}

async fn beat(beats: Arc<Beats>, stop: Arc<AtomicBool>, key: String, door: String) {
    let mut connection = Connection::open(&door).await.unwrap();
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        // A refusal is as good as silence: the key was not written.
        if let Ok(Reply::Simple(_)) = connection.call_within(&["SET", &key, "beat"], PATIENCE).await {
            let pause = u64::try_from(last.elapsed().as_millis()).unwrap();
            beats.longest_ms.fetch_max(pause, Ordering::Relaxed);
            beats.written.fetch_add(1, Ordering::Relaxed);
            last = Instant::now();
        }
        tokio::time::sleep(BEAT).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_shards_are_served_again_soon_whichever_radiant_goes_and_then_are_led_as_before() {
    served_again_soon("openraft", KILLED_MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_they_are_of_omnipaxos() {
    served_again_soon("omnipaxos", KILLED_MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_they_are_of_chains() {
    served_again_soon("chain", CHAIN_KILLED_MAX).await;
}

async fn served_again_soon(engine: &str, killed_max: Duration) {
    let mut cluster = Cluster::of(engine).await;
    cluster.led_as_preferred().await;
    for index in 0..3 {
        let name = cluster.radiants[index].name.clone();
        let mut doors = cluster.resp_doors();
        doors.remove(index);
        let mut pulse = Pulse::start(&doors).await;
        cluster.radiants[index].kill();
        pulse.beats(3).await;
        let pause = pulse.end().await;
        println!("{name} killed: the longest pause of a key is {pause:?}");
        assert!(pause <= killed_max, "{name} killed: a key stood still for {pause:?}");

        // Its return, and the heralds that come back to it, are hardly felt.
        let mut pulse = Pulse::start(&doors).await;
        cluster.radiants[index].start();
        cluster.ready().await;
        // It has its seats again: a chain had gone on without it.
        Desk::at(&cluster).await.settled(PATIENCE).await;
        cluster.led_as_preferred().await;
        pulse.beats(3).await;
        let pause = pulse.end().await;
        println!("{name} is back and leads: the longest pause of a key is {pause:?}");
        assert!(pause <= STOPPED_MAX, "{name} came back: a key stood still for {pause:?}");
    }
    let mut pulse = Pulse::start(&cluster.resp_doors()[1..]).await;
    cluster.radiants[0].terminate();
    let status = cluster.radiants[0].ended().await;
    pulse.beats(3).await;
    let pause = pulse.end().await;
    println!("r1 stopped in order: the longest pause of a key is {pause:?}");
    assert_eq!(status.code(), Some(0));
    assert!(pause <= STOPPED_MAX, "a key stood still for {pause:?}");
}
