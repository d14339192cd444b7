//! Shards change hands while clients read and write them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use shardbearer::gateway::Overview;
use shardbearer::kv::{Call, Request, Target};
use shardbearer::node::Running;
use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::kv::{Command, Reply, Scan};
use shardbearer_core::migration::Phase;
use shardbearer_proto::pb;
use shardbearer_proto::pb::move_request::{Kind, Plan};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::harness::*;

/// Asks a radiant to move something; an error is its refusal.
pub async fn ask(running: &Running, kind: Kind) -> Result<pb::Migration, String> {
    let request = pb::MoveRequest { kind: Some(kind), who: String::new(), why: "a test".into() };
    let answer = running.cluster.migrate(request).await.map_err(|error| error.to_string())?;
    if answer.refused.is_empty() { answer.migration.ok_or("no record".into()) } else { Err(answer.refused) }
}

/// Moves a shard and waits until that is over; says how it ended.
async fn moved(running: &Running, shard: ShardId, to: OrderId) -> Phase {
    let plan = Kind::Plan(Plan { shard: shard.0, to: to.0 });
    let begun = ask(running, plan).await.expect("nothing else moves");
    over(running, begun.id).await
}

/// Waits until a migration is over; says how it ended.
pub async fn over(running: &Running, id: u64) -> Phase {
    let known = &running.cluster.migrations;
    let done = || known.last().filter(|record| record.id.0 >= id && record.phase.is_over());
    eventually(&format!("migration {id} is over: {:?}", known.last()), || done().is_some()).await;
    done().expect("just seen").phase
}

/// The shard of a key and its order, as a radiant knows it.
pub fn owner(running: &Running, key: &str) -> (ShardId, OrderId) {
    running.door.locate("default", key.as_bytes()).expect("there is a table")
}

/// Waits until a radiant knows that an order owns the shard of the tests.
async fn owned(running: &Running, order: OrderId) {
    eventually("the configuration says so", || owner(running, "{moving}").1 == order).await;
}

/// A migration of the shard that is halted while it copies; its id, and the orders from and to which it goes. One
/// that is through before the word arrives is followed by another.
async fn halted(running: &Running, shard: ShardId) -> (u64, OrderId, OrderId) {
    for _ in 0..10 {
        let from = owner(running, "{moving}").1;
        let to = another(running, from);
        let begun = ask(running, Kind::Plan(Plan { shard: shard.0, to: to.0 })).await.expect("nothing moves");
        match ask(running, Kind::Pause(begun.id)).await {
            Ok(record) => {
                assert!(
                    record.paused && matches!(record.phase.as_str(), "planned" | "copying"),
                    "{record:?}"
                );
                return (begun.id, from, to);
            }
            Err(why) => assert!(why.contains("only the copying can be paused"), "{why}"),
        }
        assert_eq!(over(running, begun.id).await, Phase::Collected);
        owned(running, to).await;
    }
    panic!("ten moves were through before they were halted");
}

/// A data order other than this one.
fn another(running: &Running, order: OrderId) -> OrderId {
    let topology = running.cluster.map.topology();
    let others = topology.orders.iter().map(|one| one.id);
    others.filter(|id| !id.is_control() && *id != order).min().expect("there are several data orders")
}

/// Clients that add 1 to a key each, through different radiants, until told to stop.
pub struct Writers {
    stop: Arc<AtomicBool>,
    slowest_ms: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<u64>>,
}

impl Writers {
    fn start(radiants: &[Radiant], keys: usize) -> Writers {
        Writers::start_on(radiants, keys, "{moving}-")
    }

    /// The same on keys that begin so.
    pub fn start_on(radiants: &[Radiant], keys: usize, prefix: &str) -> Writers {
        let (stop, slowest_ms) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = (0..keys).map(|i| {
            let running = radiants[i % radiants.len()].running.clone();
            let (stop, slowest_ms) = (stop.clone(), slowest_ms.clone());
            let key = Bytes::from(format!("{prefix}{i}"));
            tokio::spawn(async move {
                let (mut count, mut revision_last) = (0, 0);
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let reply = call(&running, Command::Increment { key: key.clone(), by: 1 }).await;
                    slowest_ms.fetch_max(began.elapsed().as_millis() as u64, Ordering::Relaxed);
                    count += 1;
                    let Reply::Number { value, revision } = reply else { panic!("{reply:?}") };
                    assert_eq!(value, count, "key {i}: applied once, and not forgotten");
                    assert!(revision > revision_last, "key {i}: {revision} after {revision_last}");
                    revision_last = revision;
                }
                count as u64
            })
        });
        let tasks = tasks.collect();
        Writers { stop, slowest_ms, tasks }
    }

    /// How long a write took at most so far.
    pub fn slowest_ms(&self) -> u64 {
        self.slowest_ms.load(Ordering::Relaxed)
    }

    /// Stops them; how much each has written.
    pub async fn stop(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut counts = Vec::new();
        for task in self.tasks {
            counts.push(task.await.expect("no call failed"));
        }
        counts
    }
}

pub async fn call(running: &Running, command: Command) -> Reply {
    let request = Request {
        table: "default".into(),
        calls: vec![Call::new(command)],
        deadline: Duration::from_secs(20),
    };
    running.door.execute(request).await.remove(0).expect("no call fails")
}

/// All keys of a shard, page by page.
async fn scan(running: &Running, shard: ShardId, mut start: Bytes) -> Vec<Bytes> {
    let mut keys = Vec::new();
    loop {
        let scan = Scan { start: start.clone(), limit: 7, ..Scan::default() };
        let extent = running.cluster.map.extent(shard).expect("it is there");
        let calls = vec![Call { target: Target::Shard(extent), ..Call::new(Command::Scan(scan)) }];
        let request = Request { table: "default".into(), calls, deadline: Duration::from_secs(20) };
        let reply = running.door.execute(request).await.remove(0).expect("no call fails");
        let Reply::Page { rows, more } = reply else { panic!("{reply:?}") };
        keys.extend(rows.into_iter().map(|row| row.key));
        match keys.last() {
            Some(last) if more => start = [last.as_ref(), b"\0"].concat().into(),
            Some(_) | None => return keys,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_moves_to_and_fro_under_writers() {
    let (_folder, radiants) = cluster(3).await;
    let first = &radiants[0].running;
    let (shard, home) = owner(first, "{moving}");
    let there = another(first, home);
    for i in 0..300 {
        radiants[i % 3].put(&format!("{{moving}}-kept-{i:03}"), &"x".repeat(2_000)).await.expect("written");
    }
    let writers = Writers::start(&radiants, 6);
    for (turn, to) in [there, home, there, home].into_iter().enumerate() {
        let scanning = tokio::spawn({
            let running = radiants[turn % 3].running.clone();
            async move { scan(&running, shard, Bytes::new()).await }
        });
        assert_eq!(moved(first, shard, to).await, Phase::Collected, "turn {turn}");
        owned(first, to).await;
        let keys = scanning.await.expect("no call failed");
        let kept = keys.iter().filter(|key| key.starts_with(b"{moving}-kept-")).count();
        assert_eq!(kept, 300, "a scan doubles and misses nothing");
    }
    let slowest_ms = writers.slowest_ms();
    let counts = writers.stop().await;
    println!("counts {counts:?}, slowest write {slowest_ms} ms");
    assert!(counts.iter().all(|count| *count > 20), "the writers wrote meanwhile: {counts:?}");
    for (i, count) in counts.iter().enumerate() {
        let value = radiants[(i + 1) % 3].get(&format!("{{moving}}-{i}")).await;
        assert_eq!(value, Some(count.to_string()), "key {i}");
    }
    for radiant in radiants {
        radiant.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_halts_calls_off_and_undoes() {
    let (_folder, radiants) = cluster(3).await;
    let first = &radiants[0].running;
    let (shard, home) = owner(first, "{moving}");
    let there = another(first, home);
    radiants[1].put("{moving}-kept", "kept").await.expect("written");
    // So much that a move is seldom through before it is halted.
    for i in 0..100 {
        radiants[i % 3].put(&format!("{{moving}}-much-{i}"), &"x".repeat(20_000)).await.expect("written");
    }
    let refused = |kind| async move { ask(first, kind).await.expect_err("it should be refused") };
    assert!(refused(Kind::Undo(true)).await.contains("no shard was ever moved"));
    let plan = |shard: u64, to: OrderId| Kind::Plan(Plan { shard, to: to.0 });
    assert!(refused(plan(9_999, there)).await.contains("no shard 9999"));
    assert!(refused(plan(shard.0, OrderId::CONTROL)).await.contains("no data order"));

    // Halted, it waits until it is called off.
    let (id, from, _) = halted(first, shard).await;
    assert!(refused(plan(shard.0 + 1, there)).await.contains("one shard moves at a time"));
    let cancelled = ask(first, Kind::Cancel(0)).await.expect("it can be called off");
    assert_eq!(cancelled.phase, "returning");
    assert_eq!(over(first, id).await, Phase::Returned);
    owned(first, from).await;
    assert!(refused(Kind::Undo(true)).await.contains("nothing to undo"));
    radiants[2].put("{moving}-kept", "kept still").await.expect("the source takes writes");

    let (id, from, to) = halted(first, shard).await;
    let resumed = ask(first, Kind::Resume(id)).await.expect("it goes on");
    assert!(!resumed.paused, "{resumed:?}");
    assert_eq!(over(first, id).await, Phase::Collected);
    owned(first, to).await;
    assert!(refused(Kind::Cancel(0)).await.contains("owns the shard already"));
    let undone = ask(first, Kind::Undo(true)).await.expect("there is something to undo");
    assert_eq!(over(first, undone.id).await, Phase::Collected);
    owned(first, from).await;
    assert_eq!(radiants[1].get("{moving}-kept").await.as_deref(), Some("kept still"));
    for radiant in radiants {
        radiant.stop().await;
    }
}

/// The orders of one cluster may run different engines, so a move is also how a shard changes its protocol while it is
/// used: from each to each here, and back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_changes_its_protocol_under_writers() {
    let engines = ["openraft", "omnipaxos", "chain"];
    let (_folder, radiants) =
        cluster_with(3, |config| config.consensus.engines = engines.map(String::from).to_vec()).await;
    let first = &radiants[0].running;
    let topology = first.cluster.map.topology();
    let order_on = |engine: &str| {
        let order = topology.orders.iter().find(|order| !order.id.is_control() && order.engine == engine);
        order.expect("one each was founded").id
    };
    let (shard, home) = owner(first, "{moving}");
    for i in 0..100 {
        radiants[i % 3].put(&format!("{{moving}}-kept-{i}"), &"x".repeat(2_000)).await.expect("written");
    }
    let writers = Writers::start(&radiants, 6);
    let ways = ["openraft", "omnipaxos", "chain", "openraft", "chain", "omnipaxos", "openraft"];
    for engine in ways.into_iter().skip_while(|engine| order_on(engine) == home) {
        let to = order_on(engine);
        assert_eq!(moved(first, shard, to).await, Phase::Collected, "to {engine}");
        owned(first, to).await;
    }
    let counts = writers.stop().await;
    assert!(counts.iter().all(|count| *count > 20), "the writers wrote meanwhile: {counts:?}");
    for (i, count) in counts.iter().enumerate() {
        let value = radiants[(i + 1) % 3].get(&format!("{{moving}}-{i}")).await;
        assert_eq!(value, Some(count.to_string()), "key {i}");
    }
    let kept = scan(first, shard, Bytes::new()).await;
    assert_eq!(kept.iter().filter(|key| key.starts_with(b"{moving}-kept-")).count(), 100);
    for radiant in radiants {
        radiant.stop().await;
    }
}

/// What a former owner had is gone from its disk, and the epochs tell who asked for what.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_keeps_nothing_but_a_record() {
    let (_folder, radiants) = cluster(3).await;
    let first = &radiants[0].running;
    let (shard, home) = owner(first, "{moving}");
    let there = another(first, home);
    for i in 0..50 {
        radiants[i % 3].put(&format!("{{moving}}-{i}"), "a value").await.expect("written");
    }
    assert_eq!(moved(first, shard, there).await, Phase::Collected);
    let holder = radiants.iter().find_map(|radiant| radiant.running.cluster.orders.find(home));
    let holder = holder.expect("somebody is a member");
    eventually("the rows are gone", || {
        let space = shardbearer_core::storage::Space::Shard { order: home, shard, generation: 1 };
        let all = shardbearer_core::storage::KeyRange::all();
        holder.view().scan(space, &all).next().is_none()
    })
    .await;
    let part = shardbearer_state::shard::part(holder.view().as_ref(), home, shard).expect("readable");
    assert_eq!((part.standing, part.rows), (shardbearer_core::kv::Standing::Gone, 0));
    let epochs = first.cluster.epochs().await.expect("told");
    let told: Vec<&str> = epochs.iter().rev().take(2).map(|epoch| epoch.what.as_str()).collect();
    assert!(told[0].contains(&format!("shard {shard} belongs to order {there}")), "{told:?}");
    assert!(told[1].contains("begins to move") && epochs[epochs.len() - 2].who == "operator", "{told:?}");
    for radiant in radiants {
        radiant.stop().await;
    }
}
