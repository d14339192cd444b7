//! The orders that this radiant has a seat in: opened when the configuration gives it one, closed and forgotten when it
//! takes it away, at the start and while it runs.
//!
//! ```text
//!   configuration ──▶ settle: seats to close ──▶ engine closed, log and data dropped
//!                             seats to open  ──▶ applier, engine, what looks after them
//! ```
//!
//! What is dropped stays dropped: a seat is closed only when the configuration, which is on disk here by then, says that
//! the order goes on without it. A crash in between leaves something behind that the next start finds and drops.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use shardbearer_core::engine::{Applier, ConsensusEngine, EngineContext, EngineLimits, Start};
use shardbearer_core::ids::OrderId;
use shardbearer_core::topology::{Order as OrderConfig, Topology};
use shardbearer_state::controller::ControlMachine;
use shardbearer_state::shard::ShardMachine;
use tokio::sync::mpsc;

use super::home::Home;
use super::inbound::Dispatch;
use super::tend;
use crate::cluster::control::{self, ControlSeat};
use crate::cluster::{Cluster, scherald};
use crate::config::Config;
use crate::engine::Engines;
use crate::order::Order;
use crate::order::applier::MachineApplier;
use crate::order::codec::{ControlCodec, DataCodec};

/// After a seat could not be opened or dropped, before it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What orders are opened with.
pub(super) struct Seats {
    pub(super) cluster: Arc<Cluster>,
    pub(super) config: Config,
    pub(super) engines: Engines,
    pub(super) home: Arc<Home>,
    pub(super) limits: EngineLimits,
    pub(super) dispatch: Arc<Dispatch>,
    /// Where an engine's failure is said, which ends the radiant.
    pub(super) failed: mpsc::Sender<String>,
}

impl Seats {
    /// Makes the open orders those of the configuration. An error is a sentence; what could be done is done.
    pub(super) async fn settle(&self, topology: &Topology) -> Result<(), String> {
        let mine: BTreeMap<OrderId, &OrderConfig> =
            topology.orders_of(self.cluster.me).map(|order| (order.id, order)).collect();
        let mut result = Ok(());
        for id in self.kept()?.into_iter().filter(|id| !mine.contains_key(id)) {
            result = result.and(self.close(id).await);
        }
        for order in mine.into_values().filter(|order| !self.is_open(order.id)) {
            result = result.and(self.open(order, topology).await);
        }
        result
    }

    /// Follows the configuration until the world ends.
    pub(super) async fn follow(self) {
        loop {
            let topology = self.cluster.map.topology();
            let settled = self.settle(&topology).await;
            if let Err(why) = &settled {
                tracing::error!("{why}");
            }
            let news = self.cluster.news.notified();
            if settled.is_ok() {
                news.await;
            } else {
                // News or not, it is tried again.
                let _ = tokio::time::timeout(AGAIN, news).await;
            }
        }
    }

    fn is_open(&self, id: OrderId) -> bool {
        match id.is_control() {
            true => self.cluster.control().is_some(),
            false => self.cluster.orders.find(id).is_some(),
        }
    }

    /// Orders of which there is anything here.
    fn kept(&self) -> Result<BTreeSet<OrderId>, String> {
        let stores = &self.home.stores;
        let spaces = stores.storage.spaces().map_err(|error| error.to_string())?;
        let mut kept: BTreeSet<OrderId> = spaces.into_iter().map(|space| space.order()).collect();
        kept.extend(stores.log.orders());
        kept.extend(self.cluster.orders.all().iter().map(|order| order.id()));
        kept.extend(self.cluster.control().map(|_| OrderId::CONTROL));
        Ok(kept)
    }

    async fn open(&self, order: &OrderConfig, topology: &Topology) -> Result<(), String> {
        let cluster = &self.cluster;
        if order.id.is_control() {
            let applier = self.applier(order, ControlMachine, ControlCodec)?;
            let engine = self.engine(order, applier.clone()).await?;
            let seat = Arc::new(ControlSeat { engine, applier });
            cluster.set_control(Some(seat.clone()));
            let world = &cluster.world;
            world.spawn("configuration", control::follow(cluster.clone(), seat.clone(), topology.clone()));
            world.spawn("scherald", scherald::run(cluster.clone(), seat.clone()));
            world.spawn("control-order", tend::control(cluster.clone(), seat, self.failed.clone()));
        } else {
            let applier = self.applier(order, ShardMachine::new(order.id), DataCodec)?;
            let engine = self.engine(order, applier.clone()).await?;
            let disk_full = Arc::new(AtomicBool::new(false));
            let world = cluster.world.clone();
            let order = Order::new(order.id, cluster.me, engine, applier, world, disk_full.clone());
            cluster.orders.insert(order.clone());
            let tending = tend::data(cluster.clone(), order, disk_full, self.failed.clone());
            cluster.world.spawn("order", tending);
        }
        tracing::debug!(order = %order.id, "seat opened");
        Ok(())
    }

    /// Ends the order here and forgets all of it.
    async fn close(&self, id: OrderId) -> Result<(), String> {
        let cluster = &self.cluster;
        self.dispatch.remove(id);
        if id.is_control() {
            if let Some(seat) = cluster.set_control(None) {
                seat.engine.close().await;
                seat.applier.close().await;
            }
        } else if let Some(order) = cluster.orders.remove(id) {
            order.close().await;
        }
        cluster.leads.doubt(id, cluster.me, None);
        let home = self.home.clone();
        let dropped = cluster.world.block(move || home.forget(id)).await;
        dropped
            .unwrap_or_else(|| Err("dropping it failed".into()))
            .map_err(|why| format!("order {id}: {why}"))?;
        tracing::info!(order = %id, "the order goes on without this radiant; its log and data here are dropped");
        Ok(())
    }

    fn applier<M: shardbearer_core::machine::StateMachine>(
        &self,
        order: &OrderConfig,
        machine: M,
        codec: impl crate::order::applier::Codec<M>,
    ) -> Result<Arc<MachineApplier<M>>, String> {
        let images = self.home.images_of(order.id);
        let storage = self.home.stores.storage.clone();
        MachineApplier::open(order.id, storage, machine, codec, images, self.cluster.world.clone())
            .map_err(|error| format!("order {}: {error}", order.id))
    }

    async fn engine(
        &self,
        order: &OrderConfig,
        applier: Arc<dyn Applier>,
    ) -> Result<Arc<dyn ConsensusEngine>, String> {
        let factory = self.engines.find(&order.engine)?;
        let me = self.cluster.me;
        // What is stored says more and wins.
        let start = match order.is_as_founded() && order.members.contains(&me) {
            true => Start::Found(order.founders()),
            false => Start::Join,
        };
        let context = EngineContext {
            order: order.id,
            me,
            start,
            log: self.home.stores.log.clone(),
            applier,
            transport: self.cluster.transport.clone(),
            world: self.cluster.world.clone(),
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
        if let Some(engine) = cluster.engine(order.id)
            && let Err(error) = engine.campaign().await
        {
            // The timers elect somebody anyway.
            tracing::debug!(order = %order.id, %error, "did not stand for election");
        }
    }
}
