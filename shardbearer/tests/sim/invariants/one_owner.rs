//! In one epoch one order at most serves a shard.

use std::collections::BTreeMap;

use shardbearer_core::ids::{Epoch, OrderId, ShardId};
use shardbearer_core::storage::Space;
use shardbearer_state::keys;

use super::Invariant;
use crate::cluster::Cluster;

#[derive(Default)]
pub struct OneOwner {
    owners: BTreeMap<(ShardId, Epoch), OrderId>,
}

impl Invariant for OneOwner {
    fn look(&mut self, cluster: &Cluster) -> Result<(), String> {
        for machine in &cluster.machines {
            for order in cluster.data_orders() {
                let spaces = machine.disk.rows_of(order);
                let Some(rows) = spaces.get(&Space::Order(order)) else { continue };
                let metas = rows
                    .iter()
                    .filter_map(|(key, value)| Some((keys::shard_of_meta(key)?, keys::decode_meta(value)?)));
                for (shard, meta) in metas.filter(|(_, meta)| meta.standing.serves()) {
                    let owner = *self.owners.entry((shard, meta.epoch)).or_insert(order);
                    if owner != order {
                        let epoch = meta.epoch;
                        return Err(format!(
                            "in epoch {epoch} shard {shard} is served by orders {owner} and {order}"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}
