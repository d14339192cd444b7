//! What is stored in the folder of a radiant that does not run.

use std::path::Path;

use fjall::{Database, KeyspaceCreateOptions};
use shardbearer::storage;
use shardbearer_core::storage::{KeyRange, Space};

use super::super::chaos::files_of;

const KEYSPACES: &str = "data/keyspaces";

/// What is in the data, in memory and journals as little as can be.
#[derive(Debug)]
pub struct Stored {
    /// Of orders and shards.
    pub spaces: Vec<Space>,
    /// Bytes of all rows.
    pub rows: u64,
    /// Folders of keyspaces.
    pub keyspaces: usize,
    /// Bytes of the files in them.
    pub tables: u64,
    /// Bytes of journals, most of which are set aside before they are used and are used again.
    pub journals: u64,
}

impl Stored {
    pub fn of(folder: &Path) -> Stored {
        let (data, keyspaces) = (folder.join("data"), keyspaces(folder));
        write_out(&data);
        let size = |path: &Path| path.metadata().unwrap().len();
        let journal = |path: &Path| path.extension().is_some_and(|extension| extension == "jnl");
        let files = files_of(&data);
        let journals = files.iter().filter(|path| journal(path)).map(|path| size(path)).sum();
        let tables = files_of(&folder.join(KEYSPACES)).iter().map(|path| size(path)).sum();
        let storage = storage::open("fjall", &data, 16 << 20).unwrap();
        let (spaces, view) = (storage.spaces().unwrap(), storage.view());
        let bytes = |space: &Space| {
            let rows = view.scan(*space, &KeyRange::all()).map(Result::unwrap);
            rows.map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>()
        };
        let rows = spaces.iter().map(bytes).sum();
        Stored { spaces, rows, keyspaces, tables, journals }
    }

    /// The orders that have anything of a shard, as often as they have it.
    pub fn orders_of(&self, number: u64) -> Vec<u64> {
        let of = |space: &Space| match space {
            Space::Shard { order, shard, .. } if shard.0 == number => Some(order.0),
            Space::Shard { .. } | Space::Order(_) => None,
        };
        self.spaces.iter().filter_map(of).collect()
    }
}

/// Brings all rows into files of their own, which can be compared, and few: what waits in memory and in journals comes there
/// in the end.
fn write_out(data: &Path) {
    let database = Database::builder(data).open().unwrap();
    for name in database.list_keyspace_names() {
        let keyspace = database.keyspace(&name, KeyspaceCreateOptions::default).unwrap();
        keyspace.rotate_memtable_and_wait().unwrap();
        keyspace.major_compact().unwrap();
    }
}

/// How many folders of keyspaces there are, also where the radiant runs.
pub fn keyspaces(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder.join(KEYSPACES)).unwrap();
    entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_dir())).count()
}
