//! The virtual disks keep the laws that real ones do: otherwise what breaks on them proves nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use shardbearer_core::log::LogStore;
use shardbearer_core::storage::StorageEngine;
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
        conformance::log::check(&Subject { open: &open, persistent: true, crash: None });
    });
}

#[test]
fn the_virtual_storage_keeps_the_laws_of_storages() {
    beside(|disks| {
        let open = |place: &str| -> Arc<dyn StorageEngine> {
            let (disk, life) = disks.at(place);
            disk.open_storage(&life)
        };
        conformance::storage::check(&Subject { open: &open, persistent: true, crash: None });
    });
}
