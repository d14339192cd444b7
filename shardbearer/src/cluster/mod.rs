//! A radiant's view of its cluster, and how that view is kept: pulses, the configuration, the
//! control order.
//!
//! - [`peers`]: who was heard when, and what they said
//! - [`pulse`]: saying and hearing it, a few times a second
//! - [`control`]: the control order: requests to it, and what the scherald does
//! - `migrations`: what operators ask of them
//! - [`rebalance`]: which order has which shard, decided there too
//! - [`scherald`]: who has which seat, decided by the herald of the control order
//! - [`status`]: all of it in words for people
//!
//! Nothing here decides about data: a wrong view makes requests slow, never wrong.

pub mod control;
pub mod migrations;
pub mod peers;
pub mod pulse;
pub mod rebalance;
pub mod scherald;
pub mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use shardbearer_core::engine::ConsensusEngine;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{Incarnation, OrderId, RadiantId};
use shardbearer_core::membership::Standing;
use shardbearer_core::topology::{Doors, Topology};
use shardbearer_core::world::World;
use shardbearer_proto::pb;
use tokio::sync::Notify;

use self::control::ControlSeat;
use self::peers::Peers;
use crate::bootstrap::Bootstrap;
use crate::gateway::Overview;
use crate::leads::Leads;
use crate::map::Map;
use crate::migrate::Known;
use crate::order::registry::Registry;
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
    /// Bytes of data and log on disk, as last measured.
    pub data_bytes: AtomicU64,
    /// When the radiant started (monotonic, ns).
    pub started_ns: u64,
    /// The last migration, as known here.
    pub migrations: Arc<Known>,
    /// Wakes the pulse before its time: a lead changed.
    pub hurry: Notify,
    /// Wakes whoever makes the seats those of the configuration: it is another.
    pub news: Notify,
}

impl Cluster {
    /// Takes over a configuration if it is newer: first durably, then in use.
    pub async fn advance(&self, topology: Topology) -> Result<(), String> {
        if topology.epoch <= self.map.epoch() {
            return Ok(());
        }
        self.bootstrap.belongs(&topology).await.map_err(|error| error.to_string())?;
        self.transport.set_peers(&addresses(&topology));
        let epoch = topology.epoch;
        if self.map.advance(topology)? {
            tracing::info!(%epoch, "configuration");
            self.hurry.notify_one();
            self.news.notify_one();
        }
        Ok(())
    }

    /// The local seat of the control order, if there is one.
    pub fn control(&self) -> Option<Arc<ControlSeat>> {
        self.control.load_full()
    }

    /// Takes a seat of the control order, or gives it up; returns the one it had.
    pub fn set_control(&self, seat: Option<Arc<ControlSeat>>) -> Option<Arc<ControlSeat>> {
        self.control.swap(seat)
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
        let epochs = control::epochs(self).await?;
        Ok(epochs.iter().map(Into::into).collect())
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

    async fn digest(&self, request: pb::DigestRequest) -> Result<pb::DigestResponse, RequestError> {
        let order = OrderId(request.order);
        let digest = match (order.is_control(), self.control(), self.orders.find(order)) {
            (true, Some(seat), _) => seat.applier.digest(request.at).await?,
            (false, _, Some(order)) => order.digest(request.at).await?,
            (true, None, _) | (false, _, None) => {
                let why = format!("radiant {} has no replica of order {order}", self.name);
                return Err(Refused::Invalid(why).into());
            }
        };
        Ok((&digest).into())
    }
}
