//! What a crate outside writes to have its parts proved: a line for each, and how they are opened.

use std::path::Path;
use std::sync::Arc;

use own_parts::counted::Counted;
use own_parts::machine::{Add, Tally};
use own_parts::placement::Fair;
use own_parts::scheme::FirstByte;
use own_parts::transport::Room;
use shardbearer::storage::log::{LogOptions, SegmentedLog};
use shardbearer::world::Real;
use shardbearer_core::ids::{Epoch, OrderId};
use shardbearer_core::log::{LogRecord, LogStore, LogWrite};
use shardbearer_core::placement::ShardingScheme;
use shardbearer_core::storage::{Batch, Durability, Space, StorageEngine};
use shardbearer_core::transport::Channel;
use shardbearer_sim::conformance::transport::{Inbounds, Wires};
use shardbearer_sim::conformance::{Subject, log, machine, placement, scheme, storage, transport};

const ORDER: OrderId = OrderId(2);

const CHANNELS: &[Channel] = &[
    Channel::Engine(ORDER),
    Channel::Anew(ORDER, Epoch(7)),
    Channel::Forward,
    Channel::Pulse,
    Channel::Control,
];

#[test]
fn ranges_keep_the_laws_of_schemes() {
    let parse = |words: &str| FirstByte::parse(words).map(|mine| Box::new(mine) as Box<dyn ShardingScheme>);
    for shards in [1, 3, 16, 255] {
        let mine = FirstByte::new(shards).expect("some");
        // Ranges spread keys as people choose them, which is not evenly.
        scheme::check(&scheme::Subject { scheme: &mine, parse: &parse, even: false });
    }
}

#[test]
fn fair_shares_keep_the_laws_of_placements() {
    placement::check(&Fair);
}

#[test]
fn a_tally_keeps_the_laws_of_machines() {
    use rand::Rng;
    machine::check(&machine::Subject {
        new: &|| Tally::of(ORDER),
        order: ORDER,
        command: &|rng, _| Add {
            name: ["a", "b", ""][rng.random_range(0..3)].into(),
            by: if rng.random_ratio(1, 4) { rng.random() } else { rng.random_range(-9..9) },
        },
    });
}

#[test]
fn a_room_keeps_the_laws_of_transports() {
    transport::check(&transport::Subject {
        connect: &|inbounds| Box::pin(async { meet(inbounds) }),
        channels: CHANNELS,
        virtual_time: true,
    });
}

#[test]
fn a_storage_that_counts_keeps_the_laws_of_storages() {
    let folder = tempfile::tempdir().expect("a folder");
    storage::check(&Subject {
        open: &|place| Arc::new(counted_storage(&folder.path().join(place))),
        persistent: true,
        crash: Some(&|from, to| copy(&folder.path().join(from), &folder.path().join(to))),
    });
}

#[test]
fn a_log_that_counts_keeps_the_laws_of_logs() {
    let folder = tempfile::tempdir().expect("a folder");
    log::check(&Subject {
        open: &|place| Arc::new(counted_log(&folder.path().join(place))),
        persistent: true,
        crash: Some(&|from, to| copy(&folder.path().join(from), &folder.path().join(to))),
    });
}

#[test]
fn what_comes_by_is_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = counted_storage(&folder.path().join("data"));
    let mut batch = Batch::default();
    batch.put(Space::Order(ORDER), "a", "1");
    data.commit(batch, Durability::Buffered).expect("there is room");
    let log = counted_log(&folder.path().join("log"));
    for index in 1..=3 {
        let position = shardbearer_core::log::LogPos { term: 1, index };
        let record = LogRecord { position, payload: "entry".into() };
        log.write(ORDER, vec![LogWrite::Append(record)], Box::new(drop)).expect("it follows");
    }
    assert_eq!((data.changes(), log.changes()), (1, 3));
}

/// Radiants in one room.
fn meet(inbounds: Inbounds) -> Wires {
    let room = Room::default();
    let seats = inbounds.into_iter().map(|(me, inbound)| {
        let (world, real) = Real::create();
        ((me, room.enter(me, inbound, world)), (me, real))
    });
    let (transports, worlds): (_, std::collections::BTreeMap<_, _>) = seats.unzip();
    let stop = move |who| -> transport::Soon<'static, ()> {
        let (room, real) = (room.clone(), worlds[&who].clone());
        Box::pin(async move {
            room.leave(who);
            real.end().await;
        })
    };
    Wires { transports, stop: Box::new(stop) }
}

fn counted_storage(folder: &Path) -> Counted<dyn StorageEngine> {
    const CACHE_BYTES: u64 = 8 << 20;
    Counted::before(shardbearer::storage::open("memory", folder, CACHE_BYTES).expect("it opens"))
}

fn counted_log(folder: &Path) -> Counted<dyn LogStore> {
    let small = LogOptions { segment_bytes: 64 << 10, cache_bytes: 8 << 10, ..LogOptions::default() };
    Counted::before(SegmentedLog::open(folder, small).expect("it opens"))
}

/// What the death of the process would leave: the files as they are at this moment.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    for entry in std::fs::read_dir(from).expect("the folder is there") {
        let entry = entry.expect("it can be read");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("it is known").is_dir() {
            copy(&entry.path(), &target);
        } else if let Err(error) = std::fs::copy(entry.path(), &target) {
            // Files come and go while a store is at work.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}: {error}", entry.path().display());
        }
    }
}
