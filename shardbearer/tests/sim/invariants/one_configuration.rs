//! One configuration per epoch, ever, and no radiant goes back to an older one while it runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use shardbearer_core::ids::{ClusterId, Epoch};
use shardbearer_core::topology::Topology;
use shardbearer_sim::world::{Life, Universe};

use super::Invariant;
use crate::cluster::Cluster;

/// See [`Topology::version`].
type Version = (Epoch, Epoch);

#[derive(Default)]
pub struct OneConfiguration {
    seen: BTreeMap<(ClusterId, Epoch), (String, Arc<Topology>)>,
    /// What each machine had in force when it was last looked at, and in which of its lives.
    before: BTreeMap<String, (Weak<Life>, Version)>,
}

impl Invariant for OneConfiguration {
    fn look(&mut self, cluster: &Cluster) -> Result<(), String> {
        for machine in &cluster.machines {
            let Some((running, life)) = machine.running() else { continue };
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
            self.goes_on(&machine.name, &life, topology.version())?;
        }
        Ok(())
    }
}

impl OneConfiguration {
    fn goes_on(&mut self, name: &str, life: &Arc<Life>, now: Version) -> Result<(), String> {
        let life = Arc::downgrade(life);
        match self.before.insert(name.to_owned(), (life.clone(), now)) {
            Some((then, before)) if then.ptr_eq(&life) && before > now => {
                Err(format!("{name} went back from epoch {} to epoch {}", before.1, now.1))
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[test]
fn a_radiant_that_goes_back_while_it_runs_is_named() {
    let universe = Universe::new(0);
    let life = || Life::begin(&universe, "one", &Arc::default());
    let (first, second) = (life(), life());
    let mut seen = OneConfiguration::default();
    let mut at = |life, epoch| seen.goes_on("r0", life, (Epoch(0), Epoch(epoch)));
    assert_eq!((at(&first, 2), at(&first, 3)), (Ok(()), Ok(())));
    assert_eq!(at(&first, 2), Err("r0 went back from epoch 3 to epoch 2".into()));
    assert_eq!((at(&second, 1), at(&second, 1)), (Ok(()), Ok(())), "it may, after a crash");
}
