//! A source drops its copy of a shard only when the destination was found to have the same, and the epoch that names the
//! destination is committed.

use std::collections::{BTreeMap, BTreeSet};

use shardbearer_core::control::{Change, ControlReply};
use shardbearer_core::ids::{Epoch, ShardId};
use shardbearer_core::kv::{Migrated, Standing, Step};
use shardbearer_core::migration::MigrationChange;

use super::applied::{Judge, Seen};

#[derive(Default)]
pub struct Dropped {
    /// The migrations whose copies were found to be complete. Of a split the copy is of another shard than the source's.
    compared: BTreeSet<Epoch>,
    /// The epochs in which migrations were decided.
    committed: BTreeMap<Epoch, Epoch>,
    /// Which migration last began to split a shard at a slot.
    splits: BTreeMap<(ShardId, u16), Epoch>,
    /// The latest epoch of all.
    newest: Epoch,
}

impl Judge for Dropped {
    fn judge(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Decision { command, reply: ControlReply::Changed { epoch, .. }, .. } => {
                self.newest = self.newest.max(*epoch);
                if let Change::Migration(MigrationChange::Commit { id }) = &command.change {
                    self.committed.entry(*id).or_insert(*epoch);
                }
                Ok(())
            }
            Seen::Step { at, shard, migrate, reply: Migrated::Part(part) } => {
                let order = at.order;
                let id = migrate.migration;
                let taken = |standing| part.standing == standing && part.migration == id;
                match migrate.step {
                    Step::Watch { at } if at != 0 && taken(Standing::Leaving) => {
                        let last = self.splits.entry((*shard, at)).or_default();
                        *last = (*last).max(id);
                        Ok(())
                    }
                    // Rows with a seal are the last ones, and the destination has compared them all.
                    Step::Import(ref import) if import.seal.is_some() && taken(Standing::Verified) => {
                        self.compared.insert(id);
                        Ok(())
                    }
                    // A source that was split serves on, without what crossed.
                    Step::Collect { epoch, until }
                        if taken(if until == 0 { Standing::Gone } else { Standing::Serving })
                            && (until == 0 || part.until == until) =>
                    {
                        let dropped = format!("order {order} dropped shard {shard}, migration {id},");
                        // One that forgot that it had given a part away is told so later, by whichever migration was the last.
                        let id = self.splits.get(&(*shard, until)).copied().unwrap_or(id);
                        if !self.compared.contains(&id) {
                            return Err(format!("{dropped} before the copy was compared"));
                        }
                        // A source that was away names the epoch by which it learnt of it.
                        let by_then = |decided: &Epoch| (*decided..=self.newest).contains(&epoch);
                        if !self.committed.get(&id).is_some_and(by_then) {
                            return Err(format!("{dropped} before epoch {epoch} was committed"));
                        }
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
            Seen::Decision { .. } | Seen::Step { .. } | Seen::Adopted { .. } => Ok(()),
        }
    }
}
