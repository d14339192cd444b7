//! What a cluster is founded with: orders, shards, heralds, as the configuration of the founders says.

use std::sync::Arc;

use shardbearer_core::bootstrap::Founder;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::topology::Radiant;
use shardbearer_core::world::World;
use shardbearer_state::placement::{Founding, Slots, found};

use crate::bootstrap::FoundTopology;
use crate::config::Config;

/// The founding configuration as this radiant would have it.
pub(super) fn of(config: &Config, world: &World) -> Arc<FoundTopology> {
    let config = config.clone();
    let draw = world.rng();
    let draw = parking_lot::Mutex::new(draw);
    Arc::new(move |cluster, founders: &[Founder]| {
        let founders = founders.iter().map(|founder| Radiant {
            id: RadiantId::NONE,
            name: founder.name.clone(),
            incarnation: founder.incarnation,
            doors: founder.doors.clone(),
        });
        found(Founding {
            cluster,
            founders: founders.collect(),
            orders: config.bootstrap.orders,
            replication: config.bootstrap.replication,
            engine: config.consensus.engine.clone(),
            scheme: Slots::new(config.bootstrap.shards).expect("the configuration was checked"),
            draw: rand::RngCore::next_u64(&mut *draw.lock()),
        })
    })
}
