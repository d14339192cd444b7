//! The pure parts of the path of a request, each by itself, so that a regression is seen where it is:
//! `cargo bench --bench parts`, and again after a change. What whole clusters do is measured by `scripts/bench.sh`.

use std::hint::black_box;
use std::sync::mpsc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use shardbearer::map::Map;
use shardbearer::storage::log::{LogOptions, SegmentedLog};
use shardbearer_core::ids::{OrderId, RadiantId, SessionId, ShardId};
use shardbearer_core::kv::{Command, Condition, Entry, Expiry, Item, RequestId};
use shardbearer_core::log::{LogPos, LogRecord, LogStore, LogWrite};
use shardbearer_core::machine::{StateMachine, Workspace};
use shardbearer_core::placement::{OrderView, Placement};
use shardbearer_core::storage::Stored;
use shardbearer_core::topology::Radiant;
use shardbearer_proto::convert;
use shardbearer_state::placement::{Even, Founding, Slots, found};
use shardbearer_state::shard::ShardMachine;

const ORDER: OrderId = OrderId(2);
const SHARD: ShardId = ShardId(1);
/// Writes that wait together when 64 clients write.
const ITEMS: u64 = 64;
const KEYS: u64 = 10_000;

fn put(number: u64) -> Item {
    let command = Command::Put {
        key: format!("bench:{:010}", number % KEYS).into(),
        value: Bytes::from(vec![b'v'; 256]),
        condition: Condition::Always,
        expiry: Expiry::Never,
        previous: false,
    };
    let id =
        RequestId { session: SessionId(1), number: number + 1, unanswered_from: number + 1, retry: false };
    Item { shard: SHARD, id: Some(id), until: 0, command }
}

fn entry(first: u64) -> Entry {
    Entry { time_ms: first, items: (first..first + ITEMS).map(put).collect() }
}

/// An entry of 64 puts over rows in memory: the machine's own work.
fn apply(criterion: &mut Criterion) {
    let mut machine = ShardMachine::new(ORDER);
    let mut stored = Stored::default();
    let mut index = 0;
    let mut applied = |entry: Entry| {
        index += 1;
        let mut work = Workspace::new(&stored);
        let replies = machine.apply(LogPos { term: 1, index }, entry, &mut work);
        let batch = work.finish().expect("memory does not fail");
        stored.commit(batch);
        replies
    };
    let adopt = Item::of(SHARD, Command::Adopt { epoch: 1 });
    applied(Entry { time_ms: 0, items: vec![adopt] });
    let mut next = 0;
    let mut another = || {
        next += ITEMS;
        entry(next - ITEMS)
    };
    (0..KEYS / ITEMS).for_each(|_| drop(applied(another())));
    let mut group = criterion.benchmark_group("apply");
    group.throughput(Throughput::Elements(ITEMS));
    group.bench_function("64 puts of 256 bytes", |bench| {
        bench.iter_batched(&mut another, |entry| black_box(applied(entry)), BatchSize::SmallInput);
    });
}

/// To and from the bytes of the log.
fn codec(criterion: &mut Criterion) {
    let entry = entry(0);
    let bytes = convert::entry_to_bytes(&entry);
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("64 puts to bytes", |bench| {
        bench.iter(|| convert::entry_to_bytes(black_box(&entry)))
    });
    group.bench_function("64 puts from bytes", |bench| {
        bench.iter(|| convert::entry_from_bytes(black_box(bytes.clone())).expect("its own bytes"));
    });
}

/// An append until it is durable, and what it costs if a thousand are on their way. The disk is part of it.
fn log(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = SegmentedLog::open(folder.path(), LogOptions::default()).expect("opens");
    let payload = Bytes::from(vec![b'p'; 300]);
    let mut index = 0;
    let mut append = |count: u64| {
        let (done, durable) = mpsc::channel();
        for _ in 0..count {
            index += 1;
            let position = LogPos { term: 1, index };
            let record = LogWrite::Append(LogRecord { position, payload: payload.clone() });
            let done = done.clone();
            let heard = Box::new(move |written: Result<(), _>| done.send(written).expect("is waited for"));
            log.write(ORDER, vec![record], heard).expect("taken");
        }
        (0..count).for_each(|_| durable.recv().expect("is told").expect("is written"));
        // Old segments go, so that the disk does not fill.
        let forget = LogWrite::Purge { upto: LogPos { term: 1, index } };
        log.write(ORDER, vec![forget], Box::new(|_| {})).expect("taken");
    };
    let mut group = criterion.benchmark_group("log");
    group.bench_function("one append of 300 bytes", |bench| bench.iter(|| append(1)));
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("1 000 appends of 300 bytes", |bench| bench.iter(|| append(1_000)));
    drop(group);
    log.close();
}

/// From a key to its shard and order.
fn router(criterion: &mut Criterion) {
    let founder =
        |number: u64| Radiant { id: RadiantId(number), name: format!("r{number}"), ..Radiant::default() };
    let topology = found(Founding {
        cluster: Default::default(),
        founders: (1..=9).map(founder).collect(),
        orders: 64,
        replication: 3,
        engine: "openraft".into(),
        engines: Vec::new(),
        control_engine: "openraft".into(),
        scheme: Slots::new(1_000).expect("within bounds"),
        draw: 0,
    });
    let map = Map::new(topology).expect("understood");
    let keys: Vec<String> = (0..1_000).map(|number| format!("bench:{number:010}")).collect();
    let mut next = keys.iter().cycle();
    criterion.bench_function("a key among 1 000 shards", |bench| {
        bench.iter(|| map.locate("default", next.next().expect("endless").as_bytes()));
    });
}

/// Ten thousand shards over a thousand orders, of which one has just come.
fn placement(criterion: &mut Criterion) {
    let shards: Vec<ShardId> = (1..=10_000).map(ShardId).collect();
    let order = |id| OrderView { id: OrderId(id), weight: 1 };
    let orders: Vec<OrderView> = (1..=1_000).map(order).collect();
    let present = Even.assign(&shards, &orders[1..], &vec![OrderId::NONE; shards.len()]);
    let mut group = criterion.benchmark_group("placement");
    group.sample_size(20);
    group.bench_function("10 000 shards over 1 000 orders", |bench| {
        bench.iter(|| Even.assign(&shards, &orders, &present));
    });
}

criterion_group!(parts, apply, codec, log, router, placement);
criterion_main!(parts);
