//! The doors clients come through: bytes in, [`crate::kv::Request`]s on, replies out.
//!
//! A gateway translates and nothing else: it knows its protocol and the two traits below, never orders,
//! engines or storage. Every listener is bound before the radiant has found its cluster, so that a port
//! in use is said at once; what a gateway answers until [`Entrance`] is open is its own business.

pub mod resp;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use shardbearer_core::error::RequestError;
use shardbearer_proto::pb;

use crate::kv::Door;

/// What gateways show of the cluster.
#[async_trait]
pub trait Overview: Send + Sync {
    /// The configuration in force and who leads, as far as known here.
    fn map(&self) -> pb::MapResponse;

    /// Radiants, orders, shards and their health, as seen from here.
    fn status(&self) -> pb::StatusResponse;

    /// Every configuration with who made it and why, oldest first.
    async fn epochs(&self) -> Result<Vec<pb::EpochRecord>, RequestError>;
}

/// A radiant that is in its cluster.
pub struct Inside {
    /// For data.
    pub door: Arc<dyn Door>,
    /// For everything about the cluster.
    pub overview: Arc<dyn Overview>,
}

/// Empty until the radiant is in its cluster and has opened its orders; then never changes.
pub type Entrance = Arc<OnceLock<Inside>>;
