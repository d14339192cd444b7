//! Round trips of one shard between two orders: all that is its own goes with it, and nothing of it stays behind.
//!
//! Nobody else writes the shard's rows, so each is known: what is missing is lost, and what is there although it was deleted or
//! written over was left by an earlier visit. The gate has a few round trips; `scripts/chaos.sh --round-trips 100` has as many as
//! it is told, on each engine.
//!
//! | room | holds |
//! |---|---|
//! | [`belongings`] | rows, requests that are sent again, keys that are only taken once, expiries |
//! | [`disks`] | what radiants that do not run have stored |

mod belongings;
mod disks;

use std::time::Duration;

use serde_json::json;
use shardbearer_client::pb::move_request::{Kind, Plan};
use tokio::time::Instant;

use super::desk::Desk;
use super::harness::{Cluster, PATIENCE};
use super::replicas::same_everywhere;

use self::belongings::{Belongings, ROWS};
pub use self::disks::Stored;

/// In the gate.
const FEW: usize = 4;

/// What is stored may grow by so much: of the requests that are sent again each is remembered.
const BACK_WITHIN: f64 = 0.10;

/// As `scripts/chaos.sh` says, or as in the gate.
struct Told {
    engine: String,
    round_trips: usize,
}

impl Told {
    fn now() -> Told {
        let told = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let round_trips = told("CHAOS_ROUND_TRIPS").map_or(FEW, |text| text.parse().expect("a number"));
        Told { engine: told("CHAOS_ENGINE").unwrap_or_else(|| "openraft".into()), round_trips }
    }
}

/// Moves the shard; how long that took, from asking for it until the source has dropped its copy.
async fn moved(desk: &Desk, shard: u64, to: u64) -> (Instant, Instant) {
    let begun = Instant::now();
    let record = desk.ask(Kind::Plan(Plan { shard, to })).await.expect("nothing else moves");
    // Nobody is killed here; how long it takes is up to the machine.
    desk.over(Some(record.expect("a record").id), 3 * PATIENCE).await;
    (begun, Instant::now())
}

/// Stops all, tells what they have stored, and starts them again.
async fn stored(cluster: &mut Cluster) -> Vec<Stored> {
    cluster.stop().await;
    let stored = cluster.radiants.iter().map(|radiant| Stored::of(&radiant.folder)).collect();
    cluster.start_all();
    cluster.ready().await;
    stored
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_goes_to_and_fro_with_all_its_belongings_and_leaves_nothing_behind() {
    let Told { engine, round_trips } = Told::now();
    let start = Instant::now();
    let mut cluster = Cluster::prepared(3).await;
    cluster.set(&format!("consensus.engine={engine}"));
    cluster.set("bootstrap.orders=2");
    cluster.start_all();
    cluster.ready().await;
    let desk = Desk::at(&cluster).await;
    let mut belongings = Belongings::fill(&cluster).await;
    let (shard, home) = desk.shard_of(ROWS as u64).await;
    let status = desk.status().await.expect("somebody answers");
    let mut others = status.orders.iter().filter(|order| !order.control && order.id != home);
    let away = others.next().expect("there are two").id;
    same_everywhere(&cluster).await;
    // Places for shards are made ahead; with all there, none is made while they are counted. fjall has one for their names.
    let places = status.shards.len() + status.orders.len() + 1;
    let made = Instant::now();
    while cluster.radiants.iter().any(|one| disks::keyspaces(&one.folder) < places) {
        assert!(made.elapsed() < PATIENCE, "not all shards have a place");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let before = stored(&mut cluster).await;
    for stored in &before {
        assert_eq!(stored.orders_of(shard), [home], "{stored:?}");
    }

    let mut times = Vec::new();
    for (number, to) in [away, home].into_iter().cycle().take(2 * round_trips).enumerate() {
        belongings.pack(number, &times).await;
        let time = moved(&desk, shard, to).await;
        belongings.unpack(number).await;
        times.push(time);
        // Replicas apply what their herald has decided a little later.
        let gone = Instant::now();
        while !cluster
            .radiants
            .iter()
            .zip(&before)
            .all(|(one, before)| disks::keyspaces(&one.folder) <= before.keyspaces)
        {
            assert!(gone.elapsed() < PATIENCE, "move {number}: the source keeps its space");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if to == home {
            belongings.are_all_there().await;
        }
    }
    let told = belongings.end(&times).await;
    let (orders, rows) = same_everywhere(&cluster).await;
    let after = stored(&mut cluster).await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(
            after.orders_of(shard),
            [home],
            "one space of it, and nothing of earlier visits: {after:?}"
        );
        assert_eq!(after.spaces.len(), before.spaces.len(), "{after:?}");
        for (before, after) in [(before.data.rows, after.data.rows), (before.data.files, after.data.files)] {
            assert!(after as f64 <= before as f64 * (1.0 + BACK_WITHIN), "{before} bytes are {after} now");
        }
    }
    let completed = desk.moves_of(shard).await.iter().filter(|record| record.phase == "collected").count();
    let mut took: Vec<u128> = times.iter().map(|(begun, over)| (*over - *begun).as_millis()).collect();
    took.sort_unstable();
    assert_eq!(completed, 2 * round_trips, "each of the moves");
    let sum = |all: &[Stored], of: fn(&Stored) -> u64| all.iter().map(of).sum::<u64>();
    let bytes = |of: fn(&Stored) -> u64| json!({"before": sum(&before, of), "after": sum(&after, of)});
    println!(
        "{}",
        json!({"engine": engine, "round_trips": round_trips, "moves": completed, "seconds": start.elapsed().as_secs(),
            "move_ms": {"median": took.get(took.len() / 2), "max": took.last()}, "belongings": told,
            "compared": {"orders": orders, "rows": rows}, "rows_of_data": bytes(|stored| stored.data.rows),
            "files_of_data": bytes(|stored| stored.data.files), "files_of_control": bytes(|stored| stored.control.files),
            "journals": bytes(|stored| stored.journals)})
    );
}
