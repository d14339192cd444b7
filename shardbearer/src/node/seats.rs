//! Opening the orders that a radiant is a member of: applier, engine, and what stands before it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use shardbearer_core::engine::{Applier, ConsensusEngine, EngineContext, EngineLimits, Start};
use shardbearer_core::ids::RadiantId;
use shardbearer_core::topology::{Order as OrderConfig, Topology};
use shardbearer_core::transport::Transport;
use shardbearer_core::world::World;
use shardbearer_state::controller::ControlMachine;
use shardbearer_state::shard::ShardMachine;

use super::home::Home;
use super::inbound::Dispatch;
use crate::cluster::Cluster;
use crate::cluster::control::ControlSeat;
use crate::config::Config;
use crate::engine::Engines;
use crate::order::Order;
use crate::order::applier::MachineApplier;
use crate::order::codec::{ControlCodec, DataCodec};
use crate::order::registry::Registry;

/// What orders are opened with.
pub(super) struct Seats<'a> {
    pub(super) me: RadiantId,
    pub(super) config: &'a Config,
    pub(super) engines: &'a Engines,
    pub(super) home: &'a Home,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) limits: EngineLimits,
    pub(super) world: &'a World,
    pub(super) dispatch: &'a Dispatch,
}

/// A data order, and the switch that makes it refuse writes that add data.
pub(super) type DataSeat = (Arc<Order>, Arc<AtomicBool>);

/// The orders that were opened.
pub(super) struct Opened {
    pub(super) control: Option<ControlSeat>,
    pub(super) data: Vec<DataSeat>,
}

impl Seats<'_> {
    /// Opens every order of the configuration that this radiant is a member of. An error is a sentence.
    pub(super) async fn open(&self, topology: &Topology, orders: &Registry) -> Result<Opened, String> {
        let mut opened = Opened { control: None, data: Vec::new() };
        for order in topology.orders_of(self.me) {
            if order.id.is_control() {
                let applier = self.applier(order, ControlMachine, ControlCodec)?;
                let engine = self.engine(order, applier.clone()).await?;
                opened.control = Some(ControlSeat { engine, applier });
            } else {
                let applier = self.applier(order, ShardMachine::new(order.id), DataCodec)?;
                let engine = self.engine(order, applier.clone()).await?;
                let disk_full = Arc::new(AtomicBool::new(false));
                let world = self.world.clone();
                let order = Order::new(order.id, self.me, engine, applier, world, disk_full.clone());
                orders.insert(order.clone());
                opened.data.push((order, disk_full));
            }
        }
        Ok(opened)
    }

    fn applier<M: shardbearer_core::machine::StateMachine>(
        &self,
        order: &OrderConfig,
        machine: M,
        codec: impl crate::order::applier::Codec<M>,
    ) -> Result<Arc<MachineApplier<M>>, String> {
        let images = self.home.images_of(order.id);
        let storage = self.home.stores.storage.clone();
        MachineApplier::open(order.id, storage, machine, codec, images, self.world.clone())
            .map_err(|error| format!("order {}: {error}", order.id))
    }

    async fn engine(
        &self,
        order: &OrderConfig,
        applier: Arc<dyn Applier>,
    ) -> Result<Arc<dyn ConsensusEngine>, String> {
        let factory = self.engines.find(&order.engine)?;
        let context = EngineContext {
            order: order.id,
            me: self.me,
            // The members of the founding; what is stored says more and wins.
            start: Start::Found(order.members.clone()),
            log: self.home.stores.log.clone(),
            applier,
            transport: self.transport.clone(),
            world: self.world.clone(),
            timing: self.config.consensus.timing(),
            limits: self.limits,
        };
        let engine = factory.open(context).await.map_err(|error| error.to_string())?;
        self.dispatch.register(order.id, engine.clone());
        Ok(engine)
    }
}

/// Stands for election at once where the founding drew this radiant, so that a new cluster serves without waiting.
pub(super) async fn campaign(cluster: &Cluster) {
    let topology = cluster.map.topology();
    let chosen = |order: &&OrderConfig| order.preferred_herald == cluster.me;
    for order in topology.orders_of(cluster.me).filter(chosen) {
        let local = cluster.orders.find(order.id);
        let engine = match &local {
            Some(local) => Some(local.engine()),
            None => cluster.control.as_ref().filter(|_| order.id.is_control()).map(|seat| &seat.engine),
        };
        if let Some(engine) = engine
            && let Err(error) = engine.campaign().await
        {
            // The timers elect somebody anyway.
            tracing::debug!(order = %order.id, %error, "did not stand for election");
        }
    }
}
