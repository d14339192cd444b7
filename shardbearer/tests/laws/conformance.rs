//! The conformance suites, one line per implementation.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shardbearer::storage::ballast::Sheltered;
use shardbearer::storage::fjall::Fjall;
use shardbearer::storage::log::{LogOptions, SegmentedLog};
use shardbearer_core::log::LogStore;
use shardbearer_core::storage::{StorageEngine, StorageError};
use shardbearer_sim::conformance::{self, Subject};

/// Small enough that segments change, payloads leave the cache, and old segments are given back.
const SMALL: LogOptions = LogOptions {
    segment_bytes: 64 << 10,
    cache_bytes: 8 << 10,
    queue_bytes_max: 1 << 20,
    keep_free_bytes: 0,
};

const CACHE_BYTES: u64 = 8 << 20;

/// Copies a folder with what is in it, as far as it is still there.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    for entry in std::fs::read_dir(from).expect("the folder is there") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy(&entry.path(), &target);
        } else if let Err(error) = std::fs::copy(entry.path(), &target) {
            // Files come and go while a store is at work.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}: {error}", entry.path().display());
        }
    }
}

fn check_log(open: impl Fn(&Path) -> Arc<dyn LogStore>) {
    let dir = tempfile::tempdir().expect("a folder");
    conformance::log::check(&Subject {
        open: &|place| open(&dir.path().join(place)),
        persistent: true,
        crash: Some(&|from, to| copy(&dir.path().join(from), &dir.path().join(to))),
    });
}

/// Opens a storage. sled's own threads may hold its lock for a moment after it was dropped.
fn open_storage(kind: &str, dir: &Path) -> Arc<dyn StorageEngine> {
    const ATTEMPTS: usize = 1_000;
    for _ in 1..ATTEMPTS {
        match shardbearer::storage::open(kind, dir, CACHE_BYTES) {
            Err(StorageError::Io(why)) if why.contains("could not acquire lock") => {
                std::thread::park_timeout(Duration::from_millis(10));
            }
            opened => return opened.expect("opens"),
        }
    }
    shardbearer::storage::open(kind, dir, CACHE_BYTES).expect("opens after ten seconds")
}

fn check_storage(open: impl Fn(&Path) -> Arc<dyn StorageEngine>) {
    let dir = tempfile::tempdir().expect("a folder");
    conformance::storage::check(&Subject {
        open: &|place| open(&dir.path().join(place)),
        persistent: true,
        crash: Some(&|from, to| copy(&dir.path().join(from), &dir.path().join(to))),
    });
}

#[test]
fn the_segmented_log_keeps_the_laws_of_logs() {
    check_log(|dir| SegmentedLog::open(dir, SMALL).expect("opens"));
}

#[test]
fn the_segmented_log_keeps_them_with_large_segments_too() {
    check_log(|dir| SegmentedLog::open(dir, LogOptions { segment_bytes: 4 << 20, ..SMALL }).expect("opens"));
}

#[test]
fn fjall_keeps_the_laws_of_storages() {
    check_storage(|dir| open_storage("fjall", dir));
}

#[test]
fn fjall_keeps_them_with_nothing_above_it_too() {
    check_storage(|dir| Arc::new(Fjall::open(dir, CACHE_BYTES).expect("opens")));
}

#[test]
fn fjall_keeps_the_laws_of_storages_where_spaces_share_a_place() {
    check_storage(|dir| Arc::new(Fjall::with(dir, CACHE_BYTES, 1).expect("opens")));
}

#[test]
fn memory_keeps_them_where_room_is_set_aside() {
    check_storage(|dir| {
        let below = shardbearer::storage::open("memory", dir, CACHE_BYTES).expect("opens");
        Arc::new(Sheltered::new(below, dir, 4 << 20).expect("starts"))
    });
}

#[test]
fn sled_keeps_the_laws_of_storages() {
    check_storage(|dir| open_storage("sled", dir));
}

#[test]
fn memory_keeps_the_laws_of_storages() {
    check_storage(|dir| open_storage("memory", dir));
}
