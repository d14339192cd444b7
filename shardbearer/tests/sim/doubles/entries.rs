//! Engines that propose something else than they were asked to.

use shardbearer_core::ids::{Epoch, ShardId};
use shardbearer_core::kv::{Command, Entry, Item, Migrate, Step};

use super::engines::Defect;

impl Defect {
    /// Whether it changes what it proposes.
    pub fn spoils(self) -> bool {
        use Defect::*;
        matches!(self, Forgetful | Greedy | DropsEarly | ServesEarly | ServesOn | TakesAnything)
    }

    /// What it makes of an entry.
    pub fn spoilt(self, mut entry: Entry) -> Entry {
        match self {
            Defect::Forgetful => without_ids(&mut entry),
            Defect::Greedy => {
                let adopts = |command: &Command| matches!(command, Command::Adopt { .. });
                let more: Vec<_> = entry.items.iter().filter(|item| adopts(&item.command)).cloned().collect();
                entry.items.extend(more.into_iter().map(|mut item| {
                    item.shard = ShardId(item.shard.0 % crate::cluster::SHARDS as u64 + 1);
                    item
                }));
            }
            Defect::DropsEarly => follow(&mut entry, |migration, step| {
                matches!(step, Step::Freeze).then_some(Step::Collect { epoch: migration, until: 0 })
            }),
            Defect::ServesEarly => follow(&mut entry, |migration, step| {
                let last = matches!(step, Step::Import(import) if import.seal.is_some());
                last.then_some(Step::Activate { epoch: migration })
            }),
            Defect::ServesOn => {
                for item in &mut entry.items {
                    if let Command::Migrate(Migrate { step: step @ Step::Collect { .. }, .. }) =
                        &mut item.command
                    {
                        *step = Step::Release;
                    }
                }
            }
            Defect::TakesAnything => {
                for item in &mut entry.items {
                    if let Command::Migrate(Migrate { step: Step::Import(import), .. }) = &mut item.command
                        && let Some(seal) = &mut import.seal
                    {
                        seal.from = 0;
                    }
                }
            }
            _ => {}
        }
        entry
    }
}

/// Adds steps right behind those of migrations.
fn follow(entry: &mut Entry, then: impl Fn(Epoch, &Step) -> Option<Step>) {
    let more = entry.items.iter().filter_map(|item| match &item.command {
        Command::Migrate(Migrate { migration, step }) => {
            let step = then(*migration, step)?;
            Some(Item { command: Command::Migrate(Migrate { migration: *migration, step }), ..item.clone() })
        }
        _ => None,
    });
    let more: Vec<_> = more.collect();
    entry.items.extend(more);
}

/// Takes the ids of the requests away.
pub fn without_ids(entry: &mut Entry) {
    entry.items.iter_mut().for_each(|item| item.id = None);
}
