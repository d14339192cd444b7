//! No radiant finds, by reading all that it stores, anything else than what was written.

use super::Invariant;
use crate::cluster::Cluster;

pub struct StoredAsWritten;

impl Invariant for StoredAsWritten {
    fn look(&mut self, cluster: &Cluster) -> Result<(), String> {
        for machine in &cluster.machines {
            let Some((running, _)) = machine.running() else { continue };
            let found = running.cluster.audits.told(&running.cluster);
            // A bit that turned is met as an error: so it should be.
            if let Some(found) = found.iter().find(|found| !found.what.starts_with("it cannot be read")) {
                return Err(format!("{} says that it stores what was not written: {found:?}", machine.name));
            }
        }
        Ok(())
    }
}
