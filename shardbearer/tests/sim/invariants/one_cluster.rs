//! No two clusters form from one set of radiants.

use std::collections::BTreeMap;

use shardbearer_core::ids::ClusterId;

use super::Invariant;
use crate::cluster::Cluster;

#[derive(Default)]
pub struct OneCluster {
    seen: BTreeMap<ClusterId, String>,
}

impl Invariant for OneCluster {
    fn look(&mut self, cluster: &Cluster) -> Result<(), String> {
        for machine in &cluster.machines {
            let Some((running, _)) = machine.running() else { continue };
            let id = running.cluster.map.topology().cluster;
            self.seen.entry(id).or_insert_with(|| machine.name.clone());
        }
        match self.seen.len() {
            0 | 1 => Ok(()),
            _ => Err(format!("two clusters were founded: {:?}", self.seen)),
        }
    }
}
