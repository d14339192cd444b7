//! One herald per order and term.

use std::collections::BTreeMap;

use shardbearer_core::ids::{OrderId, RadiantId};

use super::Invariant;
use crate::cluster::Cluster;

#[derive(Default)]
pub struct OneHerald {
    heralds: BTreeMap<(OrderId, u64), RadiantId>,
}

impl Invariant for OneHerald {
    fn look(&mut self, cluster: &Cluster) -> Result<(), String> {
        let universe = &cluster.universe;
        for machine in &cluster.machines {
            let Some((running, _)) = machine.running() else { continue };
            let me = running.cluster.me;
            for (order, engine) in machine.engines() {
                let status = engine.status();
                if !status.leading {
                    continue;
                }
                let term = status.term;
                match self.heralds.insert((order, term), me) {
                    None => {
                        let later = self.heralds.range((order, 0)..(order, term)).next().is_some();
                        universe.trace.cover(if later { "herald changed" } else { "first herald" });
                        universe.event(format_args!("{} leads order {order} in term {term}", machine.name));
                    }
                    Some(other) if other != me => {
                        return Err(format!(
                            "order {order} has two heralds in term {term}: {other} and {me}"
                        ));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }
}
