//! One configuration per epoch, ever, and no radiant goes back to an older one while it runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use shardbearer_core::ids::{ClusterId, Epoch};
use shardbearer_core::topology::Topology;

use super::Invariant;
use crate::cluster::Cluster;

#[derive(Default)]
pub struct OneConfiguration {
    seen: BTreeMap<(ClusterId, Epoch), (String, Arc<Topology>)>,
}

impl Invariant for OneConfiguration {
    fn look(&mut self, cluster: &Cluster) -> Result<(), String> {
        for machine in &cluster.machines {
            let Some((running, _)) = machine.running() else { continue };
            let topology = running.cluster.map.topology();
            let (cluster, epoch) = (topology.cluster, topology.epoch);
            let first = || (machine.name.clone(), topology.clone());
            let (other, known) = self.seen.entry((cluster, epoch)).or_insert_with(first);
            if !Arc::ptr_eq(known, &topology) && **known != *topology {
                return Err(format!(
                    "epoch {epoch} is another configuration at {other} than at {}",
                    machine.name
                ));
            }
        }
        Ok(())
    }
}
