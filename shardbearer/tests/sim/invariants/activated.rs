//! From the freeze of a shard to its activation nobody serves it: a destination begins only when its source has stopped, and
//! the epoch that names the destination is committed.

use std::collections::{BTreeMap, BTreeSet};

use shardbearer_core::control::{Change, ControlReply};
use shardbearer_core::ids::Epoch;
use shardbearer_core::kv::{Migrated, Standing, Step};
use shardbearer_core::migration::MigrationChange;

use super::applied::{Judge, Seen};

#[derive(Default)]
pub struct Activated {
    /// The migrations for which a source has stopped to serve. Of a split its shard is another than the destination's.
    frozen: BTreeSet<Epoch>,
    /// The epochs in which migrations were decided.
    committed: BTreeMap<Epoch, Epoch>,
}

impl Judge for Activated {
    fn judge(&mut self, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Decision { command, reply: ControlReply::Changed { epoch, .. }, .. } => {
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
                    Step::Freeze if taken(Standing::Frozen) => {
                        self.frozen.insert(id);
                        Ok(())
                    }
                    Step::Activate { epoch } if taken(Standing::Serving) => {
                        let serves = format!("order {order} serves shard {shard}, migration {id},");
                        if !self.frozen.contains(&id) {
                            return Err(format!("{serves} before its source has stopped"));
                        }
                        if self.committed.get(&id) != Some(&epoch) {
                            return Err(format!("{serves} before epoch {epoch} was committed"));
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
