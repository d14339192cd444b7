//! Bounds what all keyspaces together have in memory before it is written out.
//!
//! fjall bounds each keyspace's memtable alone, and a radiant with shards evenly written to would have all of them full: a
//! gigabyte and more. So the largest are written out as soon as they are too much together, as RocksDB's `db_write_buffer_size`
//! does it. Where the others are idle, one that is written to alone has what they
//! leave of the bound, until fjall writes them out for the sake of its journal.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fjall::{AbstractTree, Database, Keyspace};

/// Bytes of all memtables that are written to, as fjall counts them.
const ALL_BYTES: u64 = 128 << 20;

/// Between two looks so many bytes are committed.
const LOOK_BYTES: u64 = 4 << 20;

/// So many memtables wait to be written out, at most; each is gone from memory only then.
const WAITING_MAX: usize = 24;

/// How long a commit waits for that at most: writing out may have failed for good, which the next commit is told.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Between two looks at what waits.
const PAUSE: Duration = Duration::from_millis(2);

/// The bound.
pub(super) struct Memtables {
    all_bytes: u64,
    look_bytes: u64,
    /// Bytes committed since the last look.
    grown: AtomicU64,
}

impl Default for Memtables {
    fn default() -> Self {
        Memtables { all_bytes: ALL_BYTES, look_bytes: LOOK_BYTES, grown: AtomicU64::new(0) }
    }
}

impl Memtables {
    /// After so many bytes were committed: makes room if there is too much.
    pub(super) fn grew(
        &self,
        bytes: u64,
        database: &Database,
        keyspaces: impl FnOnce() -> Vec<Keyspace>,
    ) -> fjall::Result<()> {
        if self.grown.fetch_add(bytes, Ordering::Relaxed) + bytes < self.look_bytes {
            return Ok(());
        }
        self.grown.store(0, Ordering::Relaxed);
        let mut sizes: Vec<(u64, Keyspace)> =
            keyspaces().into_iter().map(|keyspace| (active_bytes(&keyspace), keyspace)).collect();
        sizes.sort_by_key(|(bytes, _)| *bytes);
        let mut all: u64 = sizes.iter().map(|(bytes, _)| bytes).sum();
        while all > self.all_bytes
            && let Some((bytes, largest)) = sizes.pop()
        {
            wait_for_room(database);
            largest.rotate_memtable()?;
            all -= bytes;
        }
        Ok(())
    }
}

/// Bytes of the memtable that is written to.
fn active_bytes(keyspace: &Keyspace) -> u64 {
    keyspace.tree.active_memtable().size()
}

#[allow(clippy::disallowed_methods)] // how long a disk takes is real time
fn wait_for_room(database: &Database) {
    let until = std::time::Instant::now() + WAIT_MAX;
    while database.outstanding_flushes() > WAITING_MAX && std::time::Instant::now() < until {
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memtables_together_are_bounded_and_the_largest_is_written_out_first() {
        const ROW: u64 = 1 << 10;
        let folder = tempfile::tempdir().expect("a folder");
        let database = Database::builder(folder.path()).open().expect("opens");
        let open = |number: u64| database.keyspace(&format!("k{number}"), Default::default).expect("made");
        let keyspaces: Vec<Keyspace> = (0..10).map(open).collect();
        let bound = Memtables { all_bytes: 256 << 10, look_bytes: 16 << 10, grown: AtomicU64::new(0) };
        let key = |row: u64| row.to_be_bytes();
        for row in 0..4_000 {
            // The first gets little, so that it is never the largest.
            let of = &keyspaces[if row % 100 == 0 { 0 } else { 1 + row as usize % 9 }];
            of.insert(key(row), vec![7; ROW as usize]).expect("written");
            bound.grew(ROW, &database, || keyspaces.clone()).expect("bounded");
            let all: u64 = keyspaces.iter().map(active_bytes).sum();
            // A row has some more than its bytes there.
            assert!(all < bound.all_bytes + 2 * bound.look_bytes, "{all} bytes after row {row}");
        }
        assert!(active_bytes(&keyspaces[0]) > 40 * ROW, "the smallest was written out");
        for row in 0..4_000 {
            let of = &keyspaces[if row % 100 == 0 { 0 } else { 1 + row as usize % 9 }];
            assert!(of.get(key(row)).expect("readable").is_some(), "row {row}");
        }
    }
}
