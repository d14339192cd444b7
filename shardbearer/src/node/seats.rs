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
//!
//! An order that lost its majority may begin anew from one of its members ([`crate::order::generation`]): a seat of it is then
//! closed and opened again, by that member with what it has, by others with nothing. Of the control order that is in no
//! configuration before it has begun: the survivor has noted it beside the data ([`crate::order::generation::Beginning`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use shardbearer_core::engine::{Applier, ConsensusEngine, EngineContext, EngineLimits, Start};
use shardbearer_core::ids::{Epoch, OrderId};
use shardbearer_core::topology::{Order as OrderConfig, Topology};
use shardbearer_state::controller::{self, ControlMachine};
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
use crate::order::generation::{self, Beginning};

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
        for order in mine.into_values().filter(|order| !self.is_open(order)) {
            result = result.and(self.begin(order, topology).await);
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

    fn is_open(&self, order: &OrderConfig) -> bool {
        let open = match order.id.is_control() {
            true => self.cluster.control().is_some(),
            false => self.cluster.orders.find(order.id).is_some(),
        };
        // Once the radiant ends, no frame is taken any more, and nothing is opened again.
        let of_now = |generation| generation == order.generation() && !self.is_to_begin(order);
        open && self.dispatch.generation(order.id).is_none_or(of_now)
    }

    fn is_to_begin(&self, order: &OrderConfig) -> bool {
        // If that cannot be read, opening the seat says so.
        order.id.is_control() && self.beginning(order).is_ok_and(|beginning| beginning.is_some())
    }

    /// What the control order is to begin with here; not if it began anew elsewhere meanwhile.
    fn beginning(&self, order: &OrderConfig) -> Result<Option<Beginning>, String> {
        let noted = Beginning::of(self.home.stores.storage.view().as_ref(), order.id);
        let noted = noted.map_err(|error| error.to_string())?;
        Ok(noted.filter(|noted| noted.from == order.generation()))
    }

    /// Opens a seat, of the order as it is now: what this radiant has from before the order began anew is what it goes on from,
    /// or it is dropped.
    async fn begin(&self, order: &OrderConfig, topology: &Topology) -> Result<(), String> {
        self.shut(order.id).await;
        if self.home.half_forgotten().contains(&order.id) {
            self.forget(order.id).await?;
        }
        let mut kept = self.generation(order.id)?;
        if let Some(Beginning { generation, first, .. }) = self.beginning(order)? {
            self.survive(order, generation, Some(first)).await?;
            kept = generation;
        } else if kept < order.generation() {
            match order.roster.reset.is_some_and(|reset| reset.survivor == self.cluster.me) {
                true if order.id.is_control() => {
                    let why = "and what is here is from before: something on disk was lost";
                    return Err(format!("order {} began anew from what was here, {why}", order.id));
                }
                true => self.survive(order, order.generation(), None).await?,
                false => {
                    self.forget(order.id).await?;
                    self.note(order.id, order.generation()).await?;
                }
            }
        }
        match order.id.is_control() && kept > order.generation() {
            true => self.open_begun(kept).await,
            false => self.open(order, topology).await,
        }
    }

    fn generation(&self, id: OrderId) -> Result<Epoch, String> {
        generation::of(self.home.stores.storage.view().as_ref(), id).map_err(|error| error.to_string())
    }

    /// Last: until this is on disk, what is here counts as what it was, and all that was done about it is done again.
    async fn note(&self, id: OrderId, now: Epoch) -> Result<(), String> {
        let storage = self.home.stores.storage.clone();
        let noted = self.cluster.world.block(move || generation::note(storage.as_ref(), id, now)).await;
        let noted = noted.ok_or("noting that it began anew failed")?;
        noted.map_err(|error| format!("order {id}: {error}"))
    }

    /// Makes what is here of an order the beginning of its next generation, with what comes first in it.
    async fn survive(&self, order: &OrderConfig, now: Epoch, first: Option<Bytes>) -> Result<(), String> {
        let id = order.id;
        if !self.kept()?.contains(&id) {
            return Err(format!("order {id} is to begin anew from what is here, and there is nothing"));
        }
        tracing::warn!(order = %id, generation = %now, "begins anew from what this radiant has of it");
        let applier: Arc<dyn Applier> = match id.is_control() {
            true => self.applier(order, ControlMachine, ControlCodec)?,
            false => self.applier(order, ShardMachine::new(id), DataCodec)?,
        };
        let factory = self.engines.find(&order.engine)?;
        let reset = factory.reset(self.context(order, applier), generation::first_term(now), first).await;
        reset.map_err(|error| error.to_string())?;
        self.note(id, now).await
    }

    /// Opens the control order that began anew here: what it says now, nobody else knows yet.
    async fn open_begun(&self, generation: Epoch) -> Result<(), String> {
        let view = self.home.stores.storage.view();
        let found = controller::topology(view.as_ref()).map_err(|error| error.to_string())?;
        drop(view);
        let begun = |topology: &Topology| topology.version().0 == generation;
        let topology = found.filter(begun).ok_or_else(|| {
            format!(
                "order 1 was to begin generation {generation} here, and its configuration does not say so"
            )
        })?;
        self.cluster.advance(topology.clone()).await?;
        let order = topology.order(OrderId::CONTROL).ok_or("a configuration without a control order")?;
        self.open(order, &topology).await
    }

    /// Orders of which there is anything here.
    fn kept(&self) -> Result<BTreeSet<OrderId>, String> {
        let stores = &self.home.stores;
        let spaces = stores.storage.spaces().map_err(|error| error.to_string())?;
        let mut kept: BTreeSet<OrderId> = spaces.into_iter().map(|space| space.order()).collect();
        kept.extend(stores.log.orders());
        kept.extend(self.home.half_forgotten());
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
            let reads_here = self.reads_at_every_member(order)?;
            let order =
                Order::new(order.id, cluster.me, engine, reads_here, applier, world, disk_full.clone());
            cluster.orders.insert(order.clone());
            let tending = tend::data(cluster.clone(), order, disk_full, self.failed.clone());
            cluster.world.spawn("order", tending);
        }
        tracing::debug!(order = %order.id, "seat opened");
        Ok(())
    }

    /// Ends the order here and forgets all of it.
    async fn close(&self, id: OrderId) -> Result<(), String> {
        self.shut(id).await;
        self.forget(id).await?;
        tracing::info!(order = %id, "the order goes on without this radiant; its log and data here are dropped");
        Ok(())
    }

    /// Ends the order here, if it is open.
    async fn shut(&self, id: OrderId) {
        let cluster = &self.cluster;
        self.dispatch.remove(id);
        if id.is_control() {
            if let Some(seat) = cluster.set_control(None) {
                seat.engine.close().await;
                seat.applier.close().await;
                // Nothing there can panic.
                let _ = cluster.world.block(move || seat.applier.retire()).await;
            }
        } else if let Some(order) = cluster.orders.remove(id) {
            order.give_up().await;
        }
        cluster.leads.doubt(id, cluster.me, None);
    }

    async fn forget(&self, id: OrderId) -> Result<(), String> {
        let home = self.home.clone();
        let dropped = self.cluster.world.block(move || home.forget(id)).await;
        dropped
            .unwrap_or_else(|| Err("dropping it failed".into()))
            .map_err(|why| format!("order {id}: {why}"))
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
        let engine = factory.open(self.context(order, applier)).await.map_err(|error| error.to_string())?;
        self.dispatch.register(order.id, order.generation(), engine.clone());
        Ok(engine)
    }

    fn reads_at_every_member(&self, order: &OrderConfig) -> Result<bool, String> {
        Ok(self.engines.find(&order.engine)?.capabilities().reads_at_every_member)
    }

    fn context(&self, order: &OrderConfig, applier: Arc<dyn Applier>) -> EngineContext {
        let me = self.cluster.me;
        // What is stored says more and wins.
        let start = match order.is_as_founded() && order.members.contains(&me) {
            true => Start::Found(order.founders()),
            false => Start::Join,
        };
        EngineContext {
            order: order.id,
            me,
            start,
            log: self.home.stores.log.clone(),
            applier,
            transport: generation::transport(order.id, order.generation(), self.cluster.transport.clone()),
            world: self.cluster.world.clone(),
            timing: self.config.consensus.timing(),
            limits: self.limits,
        }
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
