//! What an order keeps of a shard that is being split, or was.

use bytes::Bytes;
use shardbearer_core::kv::{Command, Item};
use shardbearer_core::slots::slot_of;

/// Where a shard ends, and where it is about to.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Cut {
    /// The slot before which the shard ends; 0: where it has always ended.
    pub until: u16,
    /// While it is being split: from this slot on rows cross to the other shard; 0 otherwise.
    pub at: u16,
    /// What is being done about either.
    pub stage: Stage,
    /// Of the rows that cross, as far as they are weighed: how many there are.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Sum over them, as that of the shard is over all of its rows.
    pub digest: u64,
    /// The last row key that was weighed or looked at for pruning; empty: none was.
    pub cursor: Bytes,
}

/// What is being done about a shard's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Stage {
    /// Nothing.
    #[default]
    Whole,
    /// Rows that cross are weighed, up to the cursor.
    Weighing,
    /// They are weighed, and what changes is.
    Weighed,
    /// Rows that have crossed are dropped, up to the cursor.
    Pruning {
        /// Whether the shard's counters are without them already.
        counted: bool,
    },
}

impl Cut {
    /// Whether the row of a user's key crosses in the split under way.
    pub fn crosses(&self, key: &[u8]) -> bool {
        self.at != 0 && slot_of(key) >= self.at
    }

    /// Whether the row of a user's key is one that is yet to be dropped.
    pub fn is_left_over(&self, key: &[u8]) -> bool {
        matches!(self.stage, Stage::Pruning { .. }) && !self.has(key)
    }

    /// Whether the shard holds a user's key.
    pub fn has(&self, key: &[u8]) -> bool {
        self.until == 0 || slot_of(key) < self.until
    }

    /// Whether the shard may end before this slot, as far as is known here; 0: it stays as it is.
    pub fn may_end(&self, at: u16) -> bool {
        at == 0 || self.until == 0 || at < self.until
    }

    /// Whether a row of this key counts in what is weighed.
    pub fn is_weighed(&self, row: &[u8]) -> bool {
        match self.stage {
            Stage::Weighing => *row <= *self.cursor,
            Stage::Weighed => true,
            Stage::Whole | Stage::Pruning { .. } => false,
        }
    }

    /// Whether the shard is what the item takes it for: holds its keys, or ends where its caller thinks.
    pub fn fits(&self, until: u16, command: &Command) -> bool {
        if self.until == 0 {
            return true;
        }
        match command {
            Command::Batch { commands, .. } => {
                commands.iter().filter_map(Command::key).all(|key| self.has(key))
            }
            Command::Scan(_) | Command::Count | Command::Clear => until == self.until,
            command => command.key().is_none_or(|key| self.has(key)),
        }
    }

    /// The same of an item.
    pub fn fits_item(&self, item: &Item) -> bool {
        self.fits(item.until, &item.command)
    }
}
