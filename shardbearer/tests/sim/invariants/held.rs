//! No radiant finds by its rolling digests that its replica holds anything else than another's.

use super::Invariant;
use crate::cluster::Cluster;

pub struct HeldTheSame;

impl Invariant for HeldTheSame {
    fn look(&mut self, cluster: &Cluster) -> Result<(), String> {
        for machine in &cluster.machines {
            let Some((running, _)) = machine.running() else { continue };
            let known = &running.cluster;
            if let Some(difference) = known.differences.of(known.me, &known.map.topology()).first() {
                return Err(format!("{} says that replicas held different: {difference:?}", machine.name));
            }
        }
        Ok(())
    }
}
