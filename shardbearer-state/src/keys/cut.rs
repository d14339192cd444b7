//! What an order keeps of a shard that is being split, or was.

use bytes::Bytes;
use shardbearer_core::kv::{Command, Item};
use shardbearer_core::slots::slot_of;

/// Where a shard that was split, or came of a split, begins and ends, and where it is about to end.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Cut {
    /// The slot at which the shard begins, if it came of a split; it never changes. 0: where it was founded.
    pub from: u16,
    /// The slot before which the shard ends; 0: where it, or what it came of, was founded to end. Nobody who knows
    /// any configuration asks it for what is behind that.
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

    /// Nothing but where it begins and ends.
    pub fn settled(&self) -> Cut {
        Cut { from: self.from, until: self.until, ..Cut::default() }
    }

    /// Whether it begins or ends elsewhere than it was founded.
    pub fn is_bounded(&self) -> bool {
        self.from != 0 || self.until != 0
    }

    /// Whether the shard holds a user's key.
    pub fn has(&self, key: &[u8]) -> bool {
        if !self.is_bounded() {
            return true;
        }
        let slot = slot_of(key);
        slot >= self.from && (self.until == 0 || slot < self.until)
    }

    /// Whether the shard may end before this slot, as far as is known here; 0: it stays as it is.
    pub fn may_end(&self, at: u16) -> bool {
        at == 0 || at > self.from && (self.until == 0 || at < self.until)
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
        if !self.is_bounded() {
            return true;
        }
        match command {
            Command::Batch { commands, .. } => {
                commands.iter().filter_map(Command::key).all(|key| self.has(key))
            }
            // Where a shard begins never changes, so that nobody takes it for another there.
            Command::Scan(_) | Command::Count | Command::Clear => self.until == 0 || until == self.until,
            command => command.key().is_none_or(|key| self.has(key)),
        }
    }

    /// The same of an item.
    pub fn fits_item(&self, item: &Item) -> bool {
        self.fits(item.until, &item.command)
    }
}

#[cfg(test)]
mod tests {
    use shardbearer_core::ids::ShardId;

    use super::*;

    /// "hello" has slot 866, "k" 7629.
    #[test]
    fn a_shard_between_two_cuts_takes_what_is_between_and_nothing_else() {
        let get = |key: &'static str| Command::Get { key: Bytes::from_static(key.as_bytes()) };
        let both = |one, other| {
            let commands = vec![get(one), get(other)];
            Command::Batch { commands, all_or_nothing: true }
        };
        for (from, until, hello, k) in [
            (0, 0, true, true),
            (0, 7_629, true, false),
            (0, 7_630, true, true),
            (866, 0, true, true),
            (867, 0, false, true),
            (866, 7_629, true, false),
            (867, 7_630, false, true),
            (867, 7_629, false, false),
        ] {
            let cut = Cut { from, until, ..Cut::default() };
            assert_eq!((cut.has(b"hello"), cut.has(b"k")), (hello, k), "{from} to {until}");
            assert_eq!((cut.fits(0, &get("hello")), cut.fits(0, &get("k"))), (hello, k), "{from} to {until}");
            for batch in [both("hello", "k"), both("k", "hello")] {
                assert_eq!(cut.fits(0, &batch), hello && k, "{from} to {until}: {batch:?}");
            }
            // The whole is told by its end.
            assert!(cut.fits(until, &Command::Count));
            assert_eq!(cut.fits_item(&Item::of(ShardId(1), Command::Count)), until == 0);
            assert_eq!(cut.settled(), cut);
        }
        let cut = Cut { from: 100, until: 200, ..Cut::default() };
        let may_end = [0, 1, 100, 101, 199, 200, 201].map(|at| cut.may_end(at));
        assert_eq!(may_end, [true, false, false, true, true, false, false]);
    }
}
