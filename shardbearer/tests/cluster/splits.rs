//! Shards are divided while clients read and write them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use shardbearer::kv::{Call, Request};
use shardbearer::node::Running;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::kv::{Command, Reply, Scan};
use shardbearer_core::migration::Phase;
use shardbearer_core::slots::{Slots, slot_of};
use shardbearer_proto::pb::move_request::{Kind, Plan, Split};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::harness::*;
use super::moves::{Writers, ask, call, over, owner};

/// Few, so that many keys are of the one that is divided.
const SHARDS: usize = 3;

const KEPT: usize = 300;
const WRITERS: usize = 12;

/// Asks for a split, and waits until that is over and every radiant knows; says which shard came of it.
async fn split(radiants: &[Radiant], shard: ShardId, to: u64) -> ShardId {
    let first = &radiants[0].running;
    let asked = Kind::Split(Split { shard: shard.0, to, at: 0 });
    let begun = ask(first, asked).await.expect("nothing else moves");
    assert_eq!(begun.split.as_ref().map(|split| split.parent), Some(shard.0), "{begun:?}");
    assert_eq!(over(first, begun.id).await, Phase::Collected);
    let new = ShardId(begun.shard);
    for radiant in radiants {
        let map = &radiant.running.cluster.map;
        eventually("the configuration says so", || map.owner(new) == Some(OrderId(begun.to))).await;
    }
    new
}

/// All keys of the table, page by page.
async fn scan(running: &Running) -> Vec<Bytes> {
    let (mut keys, mut start) = (Vec::<Bytes>::new(), Bytes::new());
    loop {
        let page = Scan { start: start.clone(), limit: 9, ..Scan::default() };
        let Reply::Page { rows, more } = call(running, Command::Scan(page)).await else { panic!("no page") };
        keys.extend(rows.into_iter().map(|row| row.key));
        match keys.last() {
            Some(last) if more => start = [last.as_ref(), b"\0"].concat().into(),
            Some(_) | None => return keys,
        }
    }
}

/// Counts and scans through one radiant until told to stop: all rows, each once, whatever is divided meanwhile.
fn watch(radiant: &Radiant, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let (running, stop) = (radiant.running.clone(), stop.clone());
    tokio::spawn(async move {
        let mut rounds = 0;
        while !stop.load(Ordering::Relaxed) {
            let Reply::Count { rows, .. } = call(&running, Command::Count).await else { panic!("no count") };
            assert_eq!(rows, (KEPT + WRITERS) as u64, "counted in round {rounds}");
            let keys = scan(&running).await;
            let different: BTreeSet<&Bytes> = keys.iter().collect();
            assert_eq!((keys.len(), different.len()), (KEPT + WRITERS, KEPT + WRITERS), "round {rounds}");
            rounds += 1;
        }
        rounds
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_is_split_under_writers() {
    let (_folder, radiants) = cluster_with(3, |config| config.bootstrap.shards = SHARDS).await;
    let first = &radiants[0].running;
    for i in 0..KEPT {
        radiants[i % 3].put(&format!("kept-{i:03}"), &"x".repeat(500)).await.expect("written");
    }
    let (shard, home) = owner(first, "writer-0");
    let writers = Writers::start_on(&radiants, WRITERS, "writer-");
    for i in 0..WRITERS {
        loop {
            if radiants[0].get(&format!("writer-{i}")).await.is_some() {
                break;
            }
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let watching: Vec<_> = radiants.iter().map(|radiant| watch(radiant, &stop)).collect();

    let orders: Vec<OrderId> = {
        let topology = first.cluster.map.topology();
        topology.orders.iter().map(|order| order.id).filter(|id| !id.is_control() && *id != home).collect()
    };
    // To another order; that one in place; what is left of the first, wherever there is least; and then that moves.
    let one = split(&radiants, shard, orders[0].0).await;
    let two = split(&radiants, one, orders[0].0).await;
    let three = split(&radiants, shard, 0).await;
    let begun =
        ask(first, Kind::Plan(Plan { shard: shard.0, to: orders[1].0 })).await.expect("nothing moves");
    assert_eq!(over(first, begun.id).await, Phase::Collected);

    stop.store(true, Ordering::Relaxed);
    for (radiant, task) in watching.into_iter().enumerate() {
        println!("{} rounds through radiant {radiant}", task.await.expect("every row once"));
    }
    let slowest_ms = writers.slowest_ms();
    let counts = writers.stop().await;
    println!("counts {counts:?}, slowest write {slowest_ms} ms");
    assert!(counts.iter().all(|count| *count > 20), "the writers wrote meanwhile: {counts:?}");
    for (i, count) in counts.iter().enumerate() {
        let value = radiants[(i + 1) % 3].get(&format!("writer-{i}")).await;
        assert_eq!(value, Some(count.to_string()), "key {i}");
    }

    let topology = first.cluster.map.topology();
    let table = &topology.tables[0];
    let slots = Slots::parse(&table.scheme).expect("slots");
    assert_eq!(table.shards.len(), SHARDS + 3);
    let place = |shard| table.shards.iter().position(|one| one.id == shard).expect("it is there");
    let ends = [shard, three, one, two].map(|shard| slots.slots_of(place(shard)));
    assert!(ends.windows(2).all(|pair| pair[0].end == pair[1].start), "{ends:?}");
    for i in 0..KEPT {
        let key = format!("kept-{i:03}");
        let at = usize::from(slot_of(key.as_bytes()));
        let of = table.shards[slots.shard_of_slot(at as u16)].id;
        assert_eq!(owner(first, &key).0, of);
    }

    // A Redis client finds where the shards end whose orders are led by others. Who leads them is chance: they are told
    // as one as long as that is one radiant.
    let apart = [three, one].map(|shard| table.shards[place(shard)].order);
    let door = topology.radiants[0].doors.resp.clone();
    let boundary = format!("\r\n:{}\r\n", ends[2].start);
    let mut told = String::new();
    let found = async {
        while !told.contains(&boundary) {
            led_apart(&radiants, apart).await;
            told = cluster_slots(&door).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, found).await.is_ok();
    assert!(found, "{boundary:?} is not in {told:?}");

    let refused = ask(first, Kind::Undo(true)).await.expect("a move can be undone");
    assert_eq!(over(first, refused.id).await, Phase::Collected);
    let told = first.cluster.map.topology();
    assert_eq!(told.tables[0].shards.len(), SHARDS + 3, "the move, and no split");
    for radiant in radiants {
        radiant.stop().await;
    }
}

/// Adds 1 to both keys at once until they are told to be of two shards; says how often it was done.
async fn add_to_both(running: &Running, keys: [String; 2]) -> u64 {
    let mut added = 0;
    loop {
        let add = |key: &String| Command::Increment { key: Bytes::copy_from_slice(key.as_bytes()), by: 1 };
        let commands = keys.iter().map(add).collect();
        let request = Request {
            table: "default".into(),
            calls: vec![Call::new(Command::Batch { commands, all_or_nothing: true })],
            deadline: Duration::from_secs(20),
        };
        match running.door.execute(request).await.remove(0) {
            Ok(Reply::Batch { applied: true, .. }) => added += 1,
            Err(RequestError::Refused(Refused::Invalid(why))) => {
                assert!(why.contains("hash tag"), "{why}");
                return added;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Neither half of an atomic batch is lost or by itself, whichever of its keys comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_what_is_divided_is_carried_out_whole_or_not_at_all() {
    let (_folder, radiants) = cluster_with(3, |config| config.bootstrap.shards = SHARDS).await;
    let first = &radiants[0].running;
    let (shard, _) = owner(first, "both-0");
    let mut keys: Vec<String> = (0..200).map(|i| format!("both-{i}")).collect();
    keys.retain(|key| owner(first, key).0 == shard);
    keys.sort_by_key(|key| slot_of(key.as_bytes()));
    let (low, high) = (keys[0].clone(), keys[keys.len() - 1].clone());

    let mut tasks = Vec::new();
    for radiant in &radiants {
        for keys in [[low.clone(), high.clone()], [high.clone(), low.clone()]] {
            let running = radiant.running.clone();
            tasks.push(tokio::spawn(async move { add_to_both(&running, keys).await }));
        }
    }
    loop {
        if radiants[0].get(&low).await.is_some() {
            break;
        }
    }
    let new = split(&radiants, shard, 0).await;
    let mut added = 0;
    for task in tasks {
        added += tokio::time::timeout(PATIENCE, task).await.expect("in time").expect("no call fails");
    }
    println!("{added} batches before the shard was divided");
    assert_eq!((owner(first, &low).0, owner(first, &high).0), (shard, new), "on either side of the middle");
    for (key, radiant) in [(&low, 1), (&high, 2)] {
        assert_eq!(radiants[radiant].get(key).await, Some(added.to_string()), "{key}");
    }
    for radiant in radiants {
        radiant.stop().await;
    }
}

/// Has the second order led by another radiant than the first, if both are led by one.
async fn led_apart(radiants: &[Radiant], orders: [OrderId; 2]) {
    let [left, right] = orders.map(|order| radiants[0].running.door.herald(order));
    let (Some(left), Some(right)) = (left, right) else { return };
    if left != right {
        return;
    }
    let other = radiants.iter().map(|radiant| radiant.running.cluster.me).find(|id| *id != left);
    let leader = radiants.iter().find(|radiant| radiant.running.cluster.me == right).expect("one of them");
    if let Some(order) = leader.running.cluster.orders.find(orders[1]) {
        // Refused where it leads no more: whoever does is asked in the next round.
        drop(order.engine().hand_over(other.expect("three of them")).await);
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// What `CLUSTER SLOTS` answers.
async fn cluster_slots(door: &str) -> String {
    let mut stream = TcpStream::connect(door).await.expect("a door");
    stream.write_all(b"CLUSTER SLOTS\r\nPING\r\n").await.expect("sent");
    let mut told = Vec::new();
    let read = async {
        while !told.ends_with(b"+PONG\r\n") {
            assert_ne!(stream.read_buf(&mut told).await.expect("answered"), 0);
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("in time");
    String::from_utf8(told).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_split_is_called_off_and_asked_for_again() {
    let (_folder, radiants) = cluster_with(3, |config| config.bootstrap.shards = SHARDS).await;
    let first = &radiants[0].running;
    for i in 0..100 {
        radiants[i % 3].put(&format!("much-{i}"), &"x".repeat(20_000)).await.expect("written");
    }
    let (shard, home) = owner(first, "much-0");
    let mut called_off = false;
    for _ in 0..10 {
        let asked = Kind::Split(Split { shard: shard.0, to: 0, at: 0 });
        let begun = ask(first, asked).await.expect("nothing moves");
        let cancelled = ask(first, Kind::Cancel(begun.id)).await;
        let ended = over(first, begun.id).await;
        called_off |= ended == Phase::Returned;
        match ended {
            Phase::Returned => {
                assert!(cancelled.is_ok_and(|record| record.phase == "returning"));
                assert_eq!(owner(first, "much-0"), (shard, home), "it stays whole");
                break;
            }
            _ => assert!(cancelled.is_err_and(|why| why.contains("shards are not merged"))),
        }
    }
    assert!(called_off, "ten splits were through before they were called off");
    let before = first.cluster.map.topology().tables[0].shards.len();
    let new = split(&radiants, shard, 0).await;
    assert_eq!(first.cluster.map.topology().tables[0].shards.len(), before + 1);
    let refused = ask(first, Kind::Undo(true)).await.expect_err("it is no move");
    assert!(refused.contains("shards are not merged"), "{refused}");
    let Reply::Count { rows, .. } = call(first, Command::Count).await else { panic!("no count") };
    assert_eq!(rows, 100);

    // What the parent had of it is gone from its disk.
    let holder = radiants.iter().find_map(|radiant| radiant.running.cluster.orders.find(home));
    let holder = holder.expect("somebody is a member");
    let space = shardbearer_core::storage::Space::Shard { order: home, shard, generation: 1 };
    let end = first.cluster.map.extent(shard).expect("it is there").until;
    eventually("the rows are gone", || {
        let rows = holder.view();
        let rows = rows.scan(space, &shardbearer_core::storage::KeyRange::prefix(&[1]));
        let mut keys = rows.map(|row| row.expect("readable").0);
        keys.all(|key| slot_of(&key[1..]) < end)
    })
    .await;
    assert!(new > shard);
    for radiant in radiants {
        radiant.stop().await;
    }
}
