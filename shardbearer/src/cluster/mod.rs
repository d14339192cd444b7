//! A radiant's view of its cluster, and how that view is kept: pulses, the configuration, the
//! control order.
//!
//! - [`peers`]: who was heard when, and what they said
//! - [`pulse`]: saying and hearing it, a few times a second
//! - [`control`]: the control order: requests to it, and what the scherald does
//! - [`history`]: earlier configurations, the way back to one, and what everybody remembers
//! - `migrations`: what operators ask of them
//! - [`rebalance`]: which order has which shard, decided there too
//! - `reset`: orders that have lost their majority for good, decided there too
//! - [`scherald`]: who has which seat, decided by the herald of the control order
//! - [`status`]: all of it in words for people
//! - `system`: the control order that has lost its majority for good
//!
//! Nothing here decides about data: a wrong view makes requests slow, never wrong.

mod attempts;
pub mod audit;
pub mod control;
pub(crate) mod fuzz;
mod held;
pub mod history;
pub mod migrations;
pub mod peers;
pub mod pulse;
pub mod rebalance;
mod reset;
pub mod scherald;
mod splits;
pub mod status;
mod system;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use shardbearer_core::engine::ConsensusEngine;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{Incarnation, OrderId, RadiantId};
use shardbearer_core::log::LogStore;
use shardbearer_core::membership::Standing;
use shardbearer_core::migration::Migration;
use shardbearer_core::storage::View;
use shardbearer_core::topology::{Doors, Topology};
use shardbearer_core::world::World;
use shardbearer_proto::pb;
use shardbearer_state::membership::called;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use self::control::ControlSeat;
pub use self::held::Differences;
use self::peers::Peers;
use crate::bootstrap::Bootstrap;
use crate::gateway::Overview;
use crate::leads::Leads;
use crate::map::Map;
use crate::migrate::Known;
use crate::order::registry::Registry;
use crate::story::Story;
use crate::transport::Links;

/// Everything a radiant knows of its cluster.
pub struct Cluster {
    /// This radiant.
    pub me: RadiantId,
    /// Its name.
    pub name: String,
    /// Of its data directory.
    pub incarnation: Incarnation,
    /// Where it says that it can be reached.
    pub doors: Doors,
    /// The configuration.
    pub map: Arc<Map>,
    /// Who leads what.
    pub leads: Arc<Leads>,
    /// The local data orders.
    pub orders: Arc<Registry>,
    /// The local seat of the control order, if there is one. See [`Cluster::control`].
    pub control: ArcSwapOption<ControlSeat>,
    /// How membership is decided, where this radiant is the scherald.
    pub membership: scherald::Settings,
    /// What the scherald cannot do about members, if this radiant is it.
    pub blockers: parking_lot::Mutex<Vec<String>>,
    /// Who was heard.
    pub peers: Peers,
    /// What replicas here hold otherwise than others.
    pub differences: Differences,
    /// What is stored here otherwise than it was written.
    pub audits: audit::Audits,
    /// Held while the transport is told where the others are, so that it is told the newest last.
    pub reaching: parking_lot::Mutex<()>,
    /// The log of all orders here.
    pub log: Arc<dyn LogStore>,
    /// To the others.
    pub transport: Arc<dyn Links>,
    /// Keeps the configuration in the data directory and tells it to strangers.
    pub bootstrap: Bootstrap,
    /// Time, randomness, tasks.
    pub world: World,
    /// Free bytes on the disk that holds the data directory, if that can be told.
    pub disk_free: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    /// Whether less space is left than is kept in reserve.
    pub disk_full: AtomicBool,
    /// Whether it is about to end, and takes no leads. See [`Cluster::begin_to_stop`].
    pub stopping: AtomicBool,
    /// Cancelled once the configuration says that this radiant has left.
    pub left: CancellationToken,
    /// Bytes of data and log on disk, as last measured.
    pub data_bytes: AtomicU64,
    /// When the radiant started (monotonic, ns).
    pub started_ns: u64,
    /// The last migration, as known here.
    pub migrations: Arc<Known>,
    /// Held while the control order is made to begin anew from what is here.
    pub beginning: Semaphore,
    /// What this radiant remembers of what happened.
    pub story: Story,
    /// Wakes the pulse before its time: a lead changed.
    pub hurry: Notify,
    /// Wakes whoever makes the seats those of the configuration: it is another.
    pub news: Notify,
}

impl Cluster {
    /// Takes over a configuration if it is newer: first durably, then in use.
    pub async fn advance(&self, topology: Topology) -> Result<(), String> {
        if topology.version() <= self.map.topology().version() {
            return Ok(());
        }
        self.bootstrap.belongs(&topology).await.map_err(|error| error.to_string())?;
        let epoch = topology.epoch;
        if self.map.advance(topology)? {
            self.reach();
            tracing::info!(%epoch, "configuration");
            self.story.epoch(epoch);
            self.hurry.notify_one();
            self.news.notify_one();
            self.leave_if_gone();
        }
        Ok(())
    }

    /// Asks for the end of this radiant if the configuration says that it has left.
    pub fn leave_if_gone(&self) {
        let topology = self.map.topology();
        if topology.radiant(self.me).is_some_and(|radiant| radiant.standing == Standing::Gone) {
            self.left.cancel();
        }
    }

    /// Says that this radiant is about to end: nobody gives it a lead from now on, or as soon as it is heard.
    pub fn begin_to_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.story.stopping();
        self.hurry.notify_one();
    }

    /// Takes in how far the migration is, if that is news.
    pub fn learn_migration(&self, record: Migration) -> bool {
        let news = self.migrations.learn(record.clone());
        if news {
            self.story.migration(&record);
        }
        news
    }

    /// Has the transport speak to all radiants where they are: as the configuration says, save those that were
    /// found elsewhere since. A link still makes sure of who is there.
    fn reach(&self) {
        let _in_turn = self.reaching.lock();
        let topology = self.map.topology();
        let moves = self.bootstrap.moves();
        let mut peers = addresses(&topology);
        for (who, moved) in moves.borrow().iter() {
            if let Some(radiant) = topology.radiants.iter().find(|radiant| radiant.incarnation == *who)
                && radiant.doors.grpc == moved.instead_of
                && let Some(address) = peers.get_mut(&radiant.id)
            {
                address.clone_from(&moved.address);
            }
        }
        self.transport.set_peers(&peers);
    }

    /// Goes after radiants that are found at new addresses, until the radiant ends.
    pub async fn follow_moves(self: Arc<Self>) {
        let mut moves = self.bootstrap.moves();
        loop {
            self.reach();
            if moves.changed().await.is_err() {
                return;
            }
        }
    }

    /// The local seat of the control order, if there is one.
    pub fn control(&self) -> Option<Arc<ControlSeat>> {
        self.control.load_full()
    }

    /// Takes a seat of the control order, or gives it up; returns the one it had.
    pub fn set_control(&self, seat: Option<Arc<ControlSeat>>) -> Option<Arc<ControlSeat>> {
        self.control.swap(seat)
    }

    /// The data of an order that is open here.
    pub fn view(&self, order: OrderId) -> Option<Box<dyn View>> {
        match order.is_control() {
            true => self.control().map(|seat| seat.applier.view()),
            false => self.orders.find(order).map(|order| order.view()),
        }
    }

    /// The engine of an order that is open here.
    pub fn engine(&self, order: OrderId) -> Option<Arc<dyn ConsensusEngine>> {
        match order.is_control() {
            true => self.control().map(|seat| seat.engine.clone()),
            false => self.orders.find(order).map(|order| order.engine().clone()),
        }
    }
}

/// Where the radiants of a configuration are reached.
pub fn addresses(topology: &Topology) -> BTreeMap<RadiantId, String> {
    let here = topology.radiants.iter().filter(|radiant| radiant.standing != Standing::Gone);
    here.map(|radiant| (radiant.id, radiant.doors.grpc.clone())).collect()
}

#[async_trait]
impl Overview for Cluster {
    fn map(&self) -> pb::MapResponse {
        let leads = self.leads.all();
        let leads = leads.iter().filter(|lead| !lead.herald.is_none()).map(|lead| pb::Lead {
            order: lead.order.0,
            herald: lead.herald.0,
            term: lead.term,
        });
        pb::MapResponse { leads: leads.collect(), topology: Some(self.map.topology().as_ref().into()) }
    }

    fn status(&self) -> pb::StatusResponse {
        status::of_cluster(self)
    }

    async fn migrate(&self, request: pb::MoveRequest) -> Result<pb::MoveResponse, RequestError> {
        migrations::operate(self, request).await
    }

    async fn epochs(&self) -> Result<Vec<pb::EpochRecord>, RequestError> {
        history::epochs(self, 0).await
    }

    async fn epochs_page(&self, asked: pb::EpochsRequest) -> Result<pb::EpochsResponse, RequestError> {
        history::epochs_page(self, asked).await
    }

    async fn epoch_at(&self, epoch: u64) -> Result<pb::EpochAtResponse, RequestError> {
        history::epoch_at(self, epoch).await
    }

    async fn revert(&self, request: pb::RevertRequest) -> Result<pb::RevertResponse, RequestError> {
        history::revert(self, request).await
    }

    async fn timeline(&self) -> Result<pb::TimelineResponse, RequestError> {
        history::timeline(self).await
    }

    async fn rebalance(&self, request: pb::RebalanceRequest) -> Result<pb::RebalanceResponse, RequestError> {
        rebalance::ask(self, request).await
    }

    async fn explain(&self, request: pb::ExplainRequest) -> Result<pb::ExplainResponse, RequestError> {
        rebalance::explain(self, request).await
    }

    async fn member(&self, request: pb::MemberRequest) -> Result<pb::MemberResponse, RequestError> {
        scherald::ask(self, request).await
    }

    async fn reset(&self, request: pb::ResetRequest) -> Result<pb::ResetResponse, RequestError> {
        match request.system {
            true => system::ask(self, request).await,
            false => reset::ask(self, request).await,
        }
    }

    async fn digest(&self, request: pb::DigestRequest) -> Result<pb::DigestResponse, RequestError> {
        let order = OrderId(request.order);
        let digest = match (order.is_control(), self.control(), self.orders.find(order)) {
            (true, Some(seat), _) => seat.applier.digest(request.at).await?,
            (false, _, Some(order)) => order.digest(request.at).await?,
            (true, None, _) | (false, _, None) => {
                let why = format!("{} has no replica of order {order}", called(&self.name));
                return Err(Refused::Invalid(why).into());
            }
        };
        Ok((&digest).into())
    }
}
