//! What is stored in the folder of a radiant that does not run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    /// Folders of keyspaces.
    pub keyspaces: usize,
    /// Bytes of what orders with data have.
    pub data: Bytes,
    /// Bytes of what the control order has. It remembers every configuration for a while, and a move makes two.
    pub control: Bytes,
    /// Bytes of journals, most of which are set aside before they are used and are used again.
    pub journals: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Bytes {
    pub rows: u64,
    /// Of the files that hold them.
    pub files: u64,
}

impl Stored {
    pub fn of(folder: &Path) -> Stored {
        let (data, keyspaces) = (folder.join("data"), keyspaces(folder));
        let numbers = write_out(&data);
        let journal = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "jnl");
        let journals = files_of(&data).into_iter().filter(journal).map(|path| size(&path)).sum();
        let storage = storage::open("fjall", &data, 16 << 20).unwrap();
        let (spaces, view) = (storage.spaces().unwrap(), storage.view());
        let (mut of_data, mut of_control) = (Bytes::default(), Bytes::default());
        for (space, number) in spaces.iter().zip(numbers) {
            let is_control = matches!(space, Space::Order(order) if order.is_control());
            let sum = if is_control { &mut of_control } else { &mut of_data };
            let rows = view.scan(*space, &KeyRange::all()).map(Result::unwrap);
            sum.rows += rows.map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>();
            let files = files_of(&folder.join(KEYSPACES).join(number.to_string()));
            sum.files += files.iter().map(|path| size(path)).sum::<u64>();
        }
        Stored { spaces, keyspaces, data: of_data, control: of_control, journals }
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
/// in the end. Returns the keyspaces' numbers, in the order of their spaces.
fn write_out(data: &Path) -> Vec<u64> {
    let database = Database::builder(data).open().unwrap();
    let mut numbers = BTreeMap::new();
    for name in database.list_keyspace_names() {
        let keyspace = database.keyspace(&name, KeyspaceCreateOptions::default).unwrap();
        keyspace.rotate_memtable_and_wait().unwrap();
        keyspace.major_compact().unwrap();
        // As spaces are ordered: those of orders first.
        let numbered = |part: &str| part.trim_start_matches(char::is_alphabetic).parse::<u64>().unwrap();
        let parts: Vec<u64> = name.split('-').map(numbered).collect();
        numbers.insert((parts.len(), parts), keyspace.id());
    }
    numbers.into_values().collect()
}

fn size(path: &Path) -> u64 {
    path.metadata().unwrap().len()
}

/// How many folders of keyspaces there are, also where the radiant runs.
pub fn keyspaces(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder.join(KEYSPACES)).unwrap();
    entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_dir())).count()
}
