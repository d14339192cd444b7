//! What writers of a shard feel while it changes hands: measured and printed. Only what no busy machine can change is
//! asserted: that no write fails, and that all that was written is there.
//!
//! Writes are due at a steady rate, whether or not the last ones were answered, and a late one is late since it was due:
//! so a pause is felt by every write that falls into it. `scripts/bench-move.sh` measures shards of any size.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use shardbearer_client::pb::move_request::{Kind, Plan};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::desk::Desk;
use super::harness::{Cluster, PATIENCE};
use super::resp::{Connection, Reply};

/// What is moved, and who writes meanwhile.
#[derive(Clone, Copy)]
struct Scale {
    bytes: usize,
    value_bytes: usize,
    /// A second, over all writers.
    writes: u32,
    writers: u32,
    /// To and fro counts as two.
    moves: usize,
    /// Before each move, to compare.
    calm: Duration,
}

impl Scale {
    /// As `scripts/bench-move.sh` says, or small.
    fn asked() -> Scale {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u32>().expect("a number"));
        let Some(mib) = number("MOVE_MIB") else {
            let calm = Duration::from_millis(300);
            return Scale { bytes: 1 << 20, value_bytes: 1 << 10, writes: 100, writers: 8, moves: 2, calm };
        };
        Scale {
            bytes: mib as usize * (1 << 20),
            value_bytes: number("MOVE_VALUE_BYTES").unwrap_or(1 << 10) as usize,
            writes: number("MOVE_WRITES").unwrap_or(2_000),
            writers: number("MOVE_WRITERS").unwrap_or(64),
            moves: number("MOVE_MOVES").unwrap_or(4) as usize,
            calm: Duration::from_secs(5),
        }
    }
}

/// A write that was acknowledged.
#[derive(Clone, Copy)]
struct Done {
    due: Instant,
    at: Instant,
}

/// All of one shard, by their hash tag.
fn key(kind: &str, number: usize) -> String {
    format!("{{moving}}-{kind}{number}")
}

/// Writes the rows that are to be carried.
async fn fill(cluster: &Cluster, scale: Scale) {
    let (rows, value) = (scale.bytes / scale.value_bytes, "x".repeat(scale.value_bytes));
    let mut tasks = JoinSet::new();
    for (first, door) in cluster.resp_doors().into_iter().cycle().take(12).enumerate() {
        let value = value.clone();
        tasks.spawn(async move {
            let mut connection = Connection::open(&door).await.unwrap();
            for row in (first..rows).step_by(12) {
                let words = ["SET", &key("row", row), &value];
                let start = Instant::now();
                // A busy cluster may refuse for a while.
                while connection.call_within(&words, PATIENCE).await.unwrap() != Reply::Simple("OK".into()) {
                    assert!(start.elapsed() < PATIENCE, "row {row} is not taken");
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

/// Writes one key again and again, each time when it is due, and reads in the end what it wrote last.
async fn write(door: String, number: u32, scale: Scale, stop: Arc<AtomicBool>) -> Vec<Done> {
    let mut connection = Connection::open(&door).await.unwrap();
    let (key, interval) =
        (key("writer", number as usize), Duration::from_secs(1) * scale.writers / scale.writes);
    // Not all at once.
    let mut due = Instant::now() + interval * number / scale.writers;
    let mut done = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        sleep_until(due).await;
        let value = format!("{:0>100}", done.len());
        let reply = connection.call_within(&["SET", &key, &value], PATIENCE).await;
        assert_eq!(reply.unwrap(), Reply::Simple("OK".into()), "no write fails");
        done.push(Done { due, at: Instant::now() });
        due += interval;
    }
    let last = format!("{:0>100}", done.len() - 1);
    let reply = connection.call_within(&["GET", &key], PATIENCE).await;
    assert_eq!(reply.unwrap(), Reply::Bulk(Some(last)), "it was acknowledged");
    done
}

/// What writes felt that were due in this time.
fn felt(all: &[Done], from: Instant, to: Instant) -> Value {
    let mut late: Vec<Duration> =
        all.iter().filter(|one| from <= one.due && one.due < to).map(|one| one.at - one.due).collect();
    late.sort();
    let at = |share: f64| {
        let place = ((late.len() as f64 * share) as usize).min(late.len().saturating_sub(1));
        late.get(place).map(|late| late.as_secs_f64() * 1_000.0)
    };
    // Nobody's write was answered for so long.
    let mut answers: Vec<Instant> =
        all.iter().map(|one| one.at).filter(|at| from <= *at && *at < to).collect();
    answers.sort();
    let still = answers.windows(2).map(|two| two[1] - two[0]).max().unwrap_or_default();
    let ms = |value: Option<f64>| value.map(|ms| (ms * 10.0).round() / 10.0);
    json!({"seconds": (to - from).as_secs_f64(), "writes_per_second": (late.len() as f64 / (to - from).as_secs_f64()).round(),
        "p50_ms": ms(at(0.5)), "p99_ms": ms(at(0.99)), "p999_ms": ms(at(0.999)), "max_ms": ms(at(1.0)),
        "standstill_ms": ms(Some(still.as_secs_f64() * 1_000.0))})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_a_moving_shard_wait_and_do_not_fail() {
    let scale = Scale::asked();
    let cluster = Cluster::started(3).await;
    let desk = Desk::at(&cluster).await;
    fill(&cluster, scale).await;
    let (shard, home) = desk.shard_of((scale.bytes / scale.value_bytes) as u64).await;
    let status = desk.status().await.expect("somebody answers");
    let others = status.orders.iter().filter(|order| !order.control && order.id != home);
    let there = others.map(|order| order.id).min().expect("there are several");

    let (stop, mut writers) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    let doors = cluster.resp_doors();
    for number in 0..scale.writers {
        let door = doors[number as usize % doors.len()].clone();
        writers.spawn(write(door, number, scale, stop.clone()));
    }
    let mut times = Vec::new();
    for to in [there, home].into_iter().cycle().take(scale.moves) {
        let calm = Instant::now();
        sleep_until(calm + scale.calm).await;
        let begun = Instant::now();
        let record =
            desk.ask(Kind::Plan(Plan { shard, to })).await.expect("nothing else moves").expect("a record");
        // A second for each mebibyte is far too much.
        let patience = PATIENCE + Duration::from_secs((scale.bytes >> 20) as u64);
        desk.over(Some(record.id), patience).await;
        times.push((to, calm, begun, Instant::now()));
    }
    stop.store(true, Ordering::Relaxed);
    let mut done = Vec::new();
    while let Some(ended) = writers.join_next().await {
        done.extend(ended.expect("no write failed"));
    }
    let all = desk.moves_of(shard).await;
    assert!(all.iter().all(|record| record.phase == "collected") && all.len() == scale.moves, "{all:?}");
    for (to, calm, begun, over) in times {
        let (before, during) = (felt(&done, calm, begun), felt(&done, begun, over));
        let (mib, writes) = (scale.bytes as f64 / f64::from(1 << 20), scale.writes);
        println!(
            "{}",
            json!({"mib": mib, "value_bytes": scale.value_bytes, "to_order": to, "writes_due_per_second": writes,
            "before": before, "while_it_moves": during})
        );
    }
}
