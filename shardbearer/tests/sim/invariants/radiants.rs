//! No radiant ends by itself, unless its disk failed.

use super::Invariant;
use crate::cluster::Cluster;

pub struct RadiantsStay;

impl Invariant for RadiantsStay {
    fn look(&mut self, cluster: &Cluster) -> Result<(), String> {
        cluster.machines.iter().try_for_each(|machine| machine.check())
    }
}
