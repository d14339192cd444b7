//! The virtual disks keep the laws that real ones do: otherwise what breaks on them proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{LogDone, LogPos, LogRecord, LogStore, LogWrite};
use shardbearer_core::storage::{Batch, Durability, Space, StorageEngine};
use shardbearer_sim::conformance::{self, Subject};
use shardbearer_sim::disk::Disk;
use shardbearer_sim::world::{Clock, Life, Universe, block_on};
use tokio::runtime::Handle;

/// A disk per place, each opened by another life.
struct Disks {
    universe: Arc<Universe>,
    disks: Mutex<BTreeMap<String, Arc<Disk>>>,
}

impl Disks {
    fn at(&self, place: &str) -> (Arc<Disk>, Arc<Life>) {
        let life = Life::begin(&self.universe, place, &Arc::new(Clock::default()));
        let mut disks = self.disks.lock().expect("no panic");
        let disk = disks.entry(place.to_owned()).or_insert_with(|| Disk::new(&self.universe, place, None));
        (disk.clone(), life)
    }

    /// What the death of the process would leave of a place.
    fn copy(&self, from: &str, to: &str) {
        let mut disks = self.disks.lock().expect("no panic");
        let copy = disks.get(from).expect("it was opened").fork(to);
        disks.insert(to.to_owned(), copy);
    }
}

/// Runs checks that wait on their thread beside the world, which meanwhile syncs.
fn beside(check: impl FnOnce(Disks) + Send + 'static) {
    block_on(async {
        let disks = Disks { universe: Universe::new(0), disks: Mutex::default() };
        let (done, checked) = tokio::sync::oneshot::channel();
        let handle = Handle::current();
        #[allow(clippy::disallowed_methods)] // the checks block
        let thread = std::thread::spawn(move || {
            let _inside = handle.enter();
            check(disks);
            // Dropped instead, if the check panics.
            let _ = done.send(());
        });
        let _ = checked.await;
        thread.join().expect("the laws are kept");
    });
}

#[test]
fn the_virtual_log_keeps_the_laws_of_logs() {
    beside(|disks| {
        let open = |place: &str| -> Arc<dyn LogStore> {
            let (disk, life) = disks.at(place);
            disk.open_log(&life)
        };
        conformance::log::check(&Subject {
            open: &open,
            persistent: true,
            crash: Some(&|from, to| disks.copy(from, to)),
        });
    });
}

#[test]
fn the_virtual_storage_keeps_the_laws_of_storages() {
    beside(|disks| {
        let open = |place: &str| -> Arc<dyn StorageEngine> {
            let (disk, life) = disks.at(place);
            disk.open_storage(&life)
        };
        conformance::storage::check(&Subject {
            open: &open,
            persistent: true,
            crash: Some(&|from, to| disks.copy(from, to)),
        });
    });
}

/// So that the laws about crashes can fail: a fork has lost some of what is on its way to the disk, and nothing that is there.
#[test]
fn a_fork_keeps_what_is_durable_and_loses_some_of_the_rest() {
    block_on(async {
        let universe = Universe::new(0);
        let life = Life::begin(&universe, "here", &Arc::new(Clock::default()));
        let disk = Disk::new(&universe, "here", None);
        let (log, storage) = (disk.open_log(&life), disk.open_storage(&life));
        let order = OrderId(1);
        let left = || -> BTreeSet<(u64, usize)> {
            let forks = (0..256).map(|number| {
                let fork = disk.fork(&format!("fork {number}"));
                let rows = fork.rows_of(order).values().map(|rows| rows.len()).sum();
                (fork.open_log(&life).bounds(order).last.index, rows)
            });
            forks.collect()
        };
        let (done, durable) = tokio::sync::oneshot::channel();
        let mut done = Some(done);
        for index in 1..=3 {
            let record = LogRecord { position: LogPos { term: 1, index }, payload: "x".into() };
            let done = done.take_if(|_| index == 3);
            let report: LogDone = Box::new(move |result| {
                result.expect("nothing is wrong with the disk");
                // Only the last is waited for.
                let _ = done.map(|done| done.send(()));
            });
            log.write(order, vec![LogWrite::Append(record)], report).expect("it follows");
            let mut batch = Batch::default();
            batch.put(Space::Order(order), index.to_string(), "x");
            storage.commit(batch, Durability::Buffered).expect("it is taken");
        }
        let every = (0..=3).flat_map(|index| (0..=3).map(move |rows| (index, rows)));
        assert_eq!(left(), every.collect());
        durable.await.expect("it becomes durable");
        storage.commit(Batch::default(), Durability::Synced).expect("it is synced");
        assert_eq!(left(), BTreeSet::from([(3, 3)]));
    });
}
