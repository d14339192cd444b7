//! What this radiant has to say about the cluster to be.

use std::sync::Arc;

use shardbearer_core::bootstrap::Founder;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::membership::Standing;
use shardbearer_core::topology::Radiant;
use shardbearer_core::world::World;
use shardbearer_state::placement::{Founding, Slots, found};

use crate::bootstrap;
use crate::config::Config;
use crate::engine::Engines;

/// The founding configuration as this radiant would have it.
pub(super) fn founding(config: &Config, engines: &Engines, world: &World) -> Arc<bootstrap::FoundTopology> {
    let config = config.clone();
    let control_engine = control_engine(&config.consensus.engine, engines);
    let draw = world.rng();
    let draw = parking_lot::Mutex::new(draw);
    Arc::new(move |cluster, founders: &[Founder]| {
        let founders = founders.iter().map(|founder| Radiant {
            id: RadiantId::NONE,
            name: founder.name.clone(),
            incarnation: founder.incarnation,
            doors: founder.doors.clone(),
            standing: Standing::Active,
        });
        found(Founding {
            cluster,
            founders: founders.collect(),
            orders: config.bootstrap.orders,
            replication: config.bootstrap.replication,
            engine: config.consensus.engine.clone(),
            engines: config.consensus.engines.clone(),
            control_engine: control_engine.clone(),
            scheme: Slots::new(config.bootstrap.shards).expect("the configuration was checked"),
            draw: rand::RngCore::next_u64(&mut *draw.lock()),
        })
    })
}

/// Whoever decides on the members of others has to agree on his own.
fn control_engine(data_engine: &str, engines: &Engines) -> String {
    const AGREES: &str = "openraft";
    let elsewhere =
        engines.find(data_engine).is_ok_and(|factory| factory.capabilities().members_decided_elsewhere);
    if elsewhere { AGREES } else { data_engine }.to_owned()
}
