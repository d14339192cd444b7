//! Each configuration follows from the last by one change, which is recorded with who asked for it, why, and what it is; none
//! is missing, and none is ever written anew.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use shardbearer_core::control::EpochRecord;
use shardbearer_core::ids::{Epoch, OrderId};
use shardbearer_core::storage::{Space, View};
use shardbearer_core::topology::Topology;
use shardbearer_state::{controller, epochs, keys};

use super::{Invariant, Stored, members};
use crate::cluster::Cluster;

const SPACE: Space = Space::Order(OrderId::CONTROL);

#[derive(Default)]
pub struct History {
    /// What was first seen of an epoch, and where.
    seen: BTreeMap<Epoch, (String, u64)>,
    /// The newest configuration of each machine when it was last looked at.
    newest: BTreeMap<String, Bytes>,
}

impl Invariant for History {
    fn look(&mut self, cluster: &Cluster) -> Result<(), String> {
        for machine in &cluster.machines {
            let Some(stored) = Stored::on(&machine.disk, OrderId::CONTROL) else { continue };
            let Ok(Some(newest)) = stored.get(SPACE, &keys::topology()) else { continue };
            if self.newest.get(&machine.name) != Some(&newest) {
                self.read(&machine.name, &stored)
                    .map_err(|why| format!("the history on {}: {why}", machine.name))?;
                self.newest.insert(machine.name.clone(), newest);
            }
        }
        Ok(())
    }
}

impl History {
    fn read(&mut self, name: &str, stored: &Stored) -> Result<(), String> {
        let mut last = Epoch(0);
        for row in stored.scan(SPACE, &keys::epochs()) {
            let (key, value) = row.map_err(|error| error.to_string())?;
            let epoch = Epoch(last.0 + 1);
            if key != keys::epoch(epoch) {
                return Err(format!("something else than epoch {epoch} follows epoch {last}"));
            }
            let mut digest = DefaultHasher::new();
            value.hash(&mut digest);
            let digest = digest.finish();
            match self.seen.get(&epoch) {
                Some((_, known)) if *known == digest => {}
                Some((first, _)) => return Err(format!("epoch {epoch} is another one than on {first}")),
                None => {
                    self.explained(stored, epoch)?;
                    self.seen.insert(epoch, (name.to_owned(), digest));
                }
            }
            last = epoch;
        }
        let present = controller::topology(stored).map_err(|error| error.to_string())?;
        match present.filter(|present| present.epoch == last) {
            Some(_) => Ok(()),
            None => Err(format!("epoch {last} is the last one and not in force")),
        }
    }

    fn explained(&self, stored: &Stored, epoch: Epoch) -> Result<(), String> {
        let (record, after) = at(stored, epoch)?;
        let EpochRecord { who, why, what, .. } = &record;
        if record.epoch != epoch
            || after.epoch != epoch
            || [who, why, what].iter().any(|said| said.is_empty())
        {
            return Err(format!("epoch {epoch} is not explained: {record:?}"));
        }
        if epoch.0 == 1 {
            return Ok(());
        }
        let (_, before) = at(stored, Epoch(epoch.0 - 1))?;
        let mut changed = epochs::differences(&before, &after);
        changed.dedup_by_key(|difference| (difference.kind, difference.id));
        // Who gets a first seat or loses the last one takes another part with it.
        let orders = changed.iter().filter(|difference| difference.kind == "order").count();
        // A shard comes with the cut at which it begins.
        let split = matches!(&changed[..], [table, shard] if (table.kind, table.part) == ("table", "scheme")
            && shard.kind == "shard" && shard.before.is_empty());
        let one = changed.len() <= 1
            || split
            || (orders == 1 && changed.iter().all(|one| ["order", "radiant"].contains(&one.kind)));
        if !one {
            return Err(format!("epoch {epoch} ({what}) changed more than one thing: {changed:?}"));
        }
        members::check(&before, &after).map_err(|why| format!("epoch {epoch} ({what}): {why}"))
    }
}

fn at(stored: &Stored, epoch: Epoch) -> Result<(EpochRecord, Topology), String> {
    let found = controller::epoch_at(stored, epoch).map_err(|error| error.to_string())?;
    found.ok_or_else(|| format!("there is no epoch {epoch}"))
}
