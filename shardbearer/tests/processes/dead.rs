//! An order that is dead alone: every radiant has the only seat of one order, and one is killed. Its keys wait, those of the others
//! do not; shards that are on their way to it or from it wait, and those that are called off do not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shardbearer_client::pb;
use shardbearer_client::pb::move_request::{Kind, Plan};
use shardbearer_core::ids::OrderId;
use shardbearer_core::placement::ShardingScheme;
use shardbearer_core::slots::Slots;
use shardbearer_core::topology::Topology;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::desk::{Desk, is_over};
use super::harness::{Cluster, PATIENCE};
use super::resp::{Connection, Reply};
use super::trips::Stored;

/// The longest that a key of a living order may take.
const SLOW: Duration = Duration::from_secs(2);
/// How long an order is dead under load.
const DEAD: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

/// Three data orders with one seat each, each on a radiant of its own; the control order can do without one.
struct Islands {
    cluster: Cluster,
    desk: Desk,
    topology: Arc<Topology>,
    /// Data orders, and the places of their radiants.
    homes: Vec<(OrderId, usize)>,
}

impl Islands {
    async fn started() -> Islands {
        let mut cluster = Cluster::prepared(3).await;
        cluster.set("bootstrap.replication=1");
        cluster.start_all();
        cluster.ready().await;
        let topology = cluster.client().await.topology();
        let home = |order: &shardbearer_core::topology::Order| {
            assert_eq!(order.members.len(), 1);
            let name = &topology.radiants.iter().find(|radiant| radiant.id == order.members[0]).unwrap().name;
            (order.id, cluster.radiants.iter().position(|radiant| radiant.name == *name).unwrap())
        };
        let homes = topology.orders.iter().filter(|order| !order.id.is_control()).map(home).collect();
        let desk = Desk::at(&cluster).await;
        Islands { desk, homes, topology: topology.clone(), cluster }
    }

    /// The shard and the order of a key at the founding.
    fn owner(&self, key: &str) -> (u64, OrderId) {
        let shards = &self.topology.tables[0].shards;
        let shard = shards[Slots::new(shards.len()).unwrap().shard_of(key.as_bytes())];
        (shard.id.0, shard.order)
    }

    /// Some keys of an order.
    fn keys(&self, order: OrderId) -> Vec<String> {
        let all = (0..).map(|number| format!("{{island-{number}}}"));
        all.filter(|key| self.owner(key).1 == order).take(8).collect()
    }

    /// Doors of radiants that live.
    fn doors(&self, dead: usize) -> Vec<String> {
        let mut doors = self.cluster.resp_doors();
        doors.remove(dead);
        doors
    }

    /// Waits until somebody says that an order does not serve.
    async fn said_to_be_down(&self, order: OrderId) {
        let start = Instant::now();
        loop {
            let status = self.desk.status().await.unwrap_or_default();
            if status.orders.iter().any(|one| one.id == order.0 && one.state == "down") {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "nobody notices: {:?}", status.orders);
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn restart(&mut self, radiant: usize) {
        self.cluster.radiants[radiant].start();
        self.cluster.ready().await;
    }

    async fn plan(&self, shard: u64, to: OrderId) -> u64 {
        let plan = Kind::Plan(Plan { shard, to: to.0 });
        let start = Instant::now();
        loop {
            match self.desk.ask(plan).await {
                Ok(record) => return record.expect("a record").id,
                Err(why) => assert!(start.elapsed() < PATIENCE, "it may be planned: {why}"),
            }
            sleep(LOOK).await;
        }
    }

    /// The migration, once this is so.
    async fn seen(&self, what: &str, holds: impl Fn(&pb::Migration) -> bool) -> pb::Migration {
        let start = Instant::now();
        loop {
            let last = self.desk.status().await.unwrap_or_default().migration;
            if let Some(record) = last.as_ref().filter(|record| holds(record)) {
                return record.clone();
            }
            assert!(start.elapsed() < 2 * PATIENCE, "not seen: {what}; {last:?}");
            sleep(LOOK).await;
        }
    }

    /// What `shardbearer status` says.
    fn told(&self) -> String {
        String::from_utf8(self.cluster.run(&["status"]).stdout).unwrap()
    }
}

/// Writes keys of orders that live and reads them, until told to stop; how often.
async fn live(door: String, key: String, stop: Arc<AtomicBool>) -> u64 {
    let mut door = Connection::open(&door).await.unwrap();
    for number in 0.. {
        let value = number.to_string();
        let reply = door.call_within(&["SET", &key, &value], SLOW).await;
        assert_eq!(reply.expect("in time"), Reply::Simple("OK".into()), "{key}");
        let reply = door.call_within(&["GET", &key], SLOW).await;
        assert_eq!(reply.expect("in time"), Reply::Bulk(Some(value)), "{key}");
        if stop.load(Ordering::Relaxed) {
            return number + 1;
        }
        sleep(LOOK).await;
    }
    unreachable!("numbers do not end")
}

/// Writes and reads a key of the dead order; how often it was told what.
async fn wait(door: String, key: String, stop: Arc<AtomicBool>) -> BTreeMap<String, u64> {
    let mut door = Connection::open(&door).await.unwrap();
    let mut told = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        for words in [&["SET", &key, "while dead"][..], &["GET", &key]] {
            let Reply::Error(why) = door.call_within(words, PATIENCE).await.unwrap() else {
                panic!("{words:?} was answered, and nobody has {key}");
            };
            *told.entry(why.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    told
}

/// The value of a key, however long its order takes to serve.
async fn value(door: &str, key: &str) -> Option<String> {
    let (start, mut door) = (Instant::now(), Connection::open(door).await.unwrap());
    loop {
        match door.call_within(&["GET", key], PATIENCE).await.unwrap() {
            Reply::Bulk(value) => return value,
            other => assert!(start.elapsed() < PATIENCE, "{key}: {other:?}"),
        }
        sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_keys_of_a_dead_order_wait_and_are_served_when_it_is_back() {
    let mut islands = Islands::started().await;
    let (dead, down) = islands.homes[0];
    let doors = islands.doors(down);
    let keys: Vec<_> = islands.homes.iter().map(|(order, _)| islands.keys(*order)).collect();
    let mut door = Connection::open(&doors[0]).await.unwrap();
    for key in keys.iter().flatten() {
        let reply = door.call_within(&["SET", key, "before"], PATIENCE).await.unwrap();
        assert_eq!(reply, Reply::Simple("OK".into()));
    }

    islands.cluster.radiants[down].kill();
    let stop = Arc::new(AtomicBool::new(false));
    let (mut living, mut waiting) = (JoinSet::new(), JoinSet::new());
    for (number, key) in keys[1..].iter().flatten().enumerate() {
        living.spawn(live(doors[number % 2].clone(), key.clone(), stop.clone()));
    }
    // What was on its way to it when it died may have happened or not. Whoever asks once that is known is refused.
    islands.said_to_be_down(dead).await;
    for (number, key) in keys[0].iter().enumerate() {
        waiting.spawn(wait(doors[number % 2].clone(), key.clone(), stop.clone()));
    }
    sleep(DEAD).await;
    let status = islands.desk.status().await.expect("somebody answers");
    stop.store(true, Ordering::Relaxed);
    let served: u64 = living.join_all().await.into_iter().sum();
    let mut refused = BTreeMap::<String, u64>::new();
    for (why, times) in waiting.join_all().await.into_iter().flatten() {
        *refused.entry(why).or_default() += times;
    }
    println!("{served} writes and reads of living orders, each within {SLOW:?}; the dead one's: {refused:?}");
    let may_be_tried_again = ["TRYAGAIN", "CLUSTERDOWN"];
    assert!(refused.keys().all(|why| may_be_tried_again.contains(&why.as_str())), "{refused:?}");
    assert!(refused.values().sum::<u64>() >= 16, "each was asked: {refused:?}");
    let state = |order: &pb::OrderStatus| (order.id == dead.0, order.state == "down");
    let states: Vec<_> = status.orders.iter().filter(|order| !order.control).map(state).collect();
    assert!(
        states.iter().all(|(dead, down)| dead == down),
        "exactly that order is said to be down: {states:?}"
    );

    islands.restart(down).await;
    for key in &keys[0] {
        assert_eq!(
            value(&doors[0], key).await.as_deref(),
            Some("before"),
            "{key}: nothing refused has happened"
        );
    }
    let mut door = Connection::open(&doors[1]).await.unwrap();
    for key in keys.iter().flatten() {
        let reply = door.call_within(&["SET", key, "after"], SLOW).await.unwrap();
        assert_eq!(reply, Reply::Simple("OK".into()), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_waits_for_a_dead_order_in_words_and_stands_in_nobodys_way_once_it_is_called_off() {
    let mut islands = Islands::started().await;
    let [(source, home), (gone, down), (other, _)] = islands.homes[..] else { panic!("three orders") };
    let key = islands.keys(source).remove(0);
    let (shard, _) = islands.owner(&key);
    let another = another_of(&islands, source, &[shard]);
    let doors = islands.doors(down);
    let mut door = Connection::open(&doors[0]).await.unwrap();
    let large = "x".repeat(16 << 10);
    for row in 0..192 {
        let reply = door.call_within(&["SET", &format!("{key}-{row}"), &large], PATIENCE).await.unwrap();
        assert_eq!(reply, Reply::Simple("OK".into()));
    }

    // The destination dies when it has something of the shard already.
    let first = islands.plan(shard, gone).await;
    islands.seen("it is copied", |record| record.id == first && record.phase == "copying").await;
    islands.cluster.radiants[down].kill();
    let words = format!("order {gone}, which takes the shard, has no herald");
    islands.seen("why it waits", |record| record.report.as_ref().unwrap().blocker.contains(&words)).await;
    assert!(islands.told().contains(&words), "{}", islands.told());
    islands.desk.ask(Kind::Cancel(first)).await.expect("it is not decided");
    let record = islands.seen("it is over without the destination", is_over).await;
    assert_eq!((record.id, record.phase.as_str()), (first, "returned"));
    let reply = door.call_within(&["SET", &key, "served"], PATIENCE).await.unwrap();
    assert_eq!(reply, Reply::Simple("OK".into()));
    let second = islands.plan(another, other).await;
    let record = islands.seen("others move", |record| record.id == second && is_over(record)).await;
    assert_eq!(record.phase, "collected");

    // It comes back, drops what it has, and takes the same shard as if nothing had been.
    islands.restart(down).await;
    let third = islands.plan(shard, gone).await;
    let record = islands.seen("it moves", |record| record.id == third && is_over(record)).await;
    assert_eq!(record.phase, "collected");
    assert_eq!(value(&doors[0], &key).await.as_deref(), Some("served"));
    assert_eq!(value(&doors[0], &format!("{key}-191")).await, Some(large));

    // The source dies: its shard waits, and moves by itself when it is back.
    islands.cluster.radiants[home].kill();
    let fourth = islands.plan(another_of(&islands, source, &[shard, another]), other).await;
    islands
        .seen("why it waits", |record| {
            record.id == fourth && !record.report.as_ref().unwrap().blocker.is_empty() && !is_over(record)
        })
        .await;
    islands.restart(home).await;
    let record = islands.seen("it goes on", |record| record.id == fourth && is_over(record)).await;
    assert_eq!(record.phase, "collected");

    islands.cluster.stop().await;
    let stored = Stored::of(&islands.cluster.radiants[down].folder);
    assert_eq!(stored.orders_of(shard), [gone.0], "one space of it: {stored:?}");
    let stored = Stored::of(&islands.cluster.radiants[home].folder);
    assert_eq!(stored.orders_of(shard), [0; 0], "the source has none: {stored:?}");
}

/// A shard that an order had at the founding, but none of these.
fn another_of(islands: &Islands, order: OrderId, but: &[u64]) -> u64 {
    let all = islands.topology.shards_of(order);
    all.into_iter().map(|shard| shard.0).find(|shard| !but.contains(shard)).expect("it has many")
}
