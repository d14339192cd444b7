//! What is stored in the folder of a radiant that does not run.

use std::path::Path;

use shardbearer::storage;
use shardbearer_core::storage::{KeyRange, Space};

use super::super::chaos::files_of;

/// Everything but the logs, whose files are set aside in full.
#[derive(Debug)]
pub struct Stored {
    /// Of the data, shards of orders and what these know of themselves.
    pub spaces: Vec<Space>,
    /// Bytes of all rows.
    pub rows: u64,
    /// Folders of keyspaces.
    pub keyspaces: usize,
    /// Bytes of all files.
    pub files: u64,
    pub parts: std::collections::BTreeMap<String, u64>,
}

impl Stored {
    pub fn of(folder: &Path) -> Stored {
        let keyspaces = keyspaces(folder);
        let mut parts = std::collections::BTreeMap::new();
        for file in files_of(folder) {
            let n = file.strip_prefix(folder).unwrap().parent().unwrap().display().to_string()
                + "/*."
                + &file.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
            *parts.entry(n).or_default() += file.metadata().unwrap().len();
        }
        let files = 0;
        let storage = storage::open("fjall", &folder.join("data"), 16 << 20).unwrap();
        let spaces = storage.spaces().unwrap();
        let view = storage.view();
        let bytes = |space: &Space| {
            let rows = view.scan(*space, &KeyRange::all()).map(Result::unwrap);
            rows.map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>()
        };
        let rows = spaces.iter().map(bytes).sum();
        Stored { spaces, rows, keyspaces, files, parts }
    }

    /// The orders that have anything of a shard, as often as they have it.
    pub fn spaces_of(&self, number: u64) -> Vec<u64> {
        let of = |space: &Space| match space {
            Space::Shard { order, shard, .. } if shard.0 == number => Some(order.0),
            Space::Shard { .. } | Space::Order(_) => None,
        };
        self.spaces.iter().filter_map(of).collect()
    }
}

/// How many folders of keyspaces there are, also where the radiant runs.
pub fn keyspaces(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder.join("data").join("keyspaces")).unwrap();
    entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_dir())).count()
}
