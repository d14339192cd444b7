//! The doors clients come through: bytes in, [`crate::kv::Request`]s on, replies out.
//!
//! A gateway translates and nothing else: it knows its protocol and the two traits below, never orders,
//! engines or storage. Every listener is bound before the radiant has found its cluster, so that a port
//! in use is said at once; what a gateway answers until [`Entrance`] is open is its own business.

pub mod grpc;
pub mod http;
mod listen;
pub mod resp;
#[cfg(test)]
mod testing;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_proto::pb;
use tokio_util::sync::CancellationToken;

use crate::kv::Door;

/// The table that is meant where none is named.
pub const TABLE_DEFAULT: &str = "default";

/// What gateways show of the cluster.
#[async_trait]
pub trait Overview: Send + Sync {
    /// The configuration in force and who leads, as far as known here.
    fn map(&self) -> pb::MapResponse;

    /// Radiants, orders, shards and their health, as seen from here.
    fn status(&self) -> pb::StatusResponse;

    /// Moves a shard, or halts, resumes, calls off or undoes that.
    async fn migrate(&self, request: pb::MoveRequest) -> Result<pb::MoveResponse, RequestError>;

    /// Every configuration with who made it and why, oldest first.
    async fn epochs(&self) -> Result<Vec<pb::EpochRecord>, RequestError>;

    /// A part of them: from an epoch on, at most so many.
    async fn epochs_page(&self, asked: pb::EpochsRequest) -> Result<pb::EpochsResponse, RequestError> {
        let mut epochs = self.epochs().await?;
        epochs.retain(|record| record.epoch >= asked.from);
        let limit = if asked.limit == 0 { usize::MAX } else { asked.limit as usize }; // 32 bits fit
        let more = epochs.len() > limit;
        epochs.truncate(limit);
        Ok(pb::EpochsResponse { epochs, more })
    }

    /// One configuration of the past.
    async fn epoch_at(&self, _: u64) -> Result<pb::EpochAtResponse, RequestError> {
        Err(Refused::Invalid("there is no past here".into()).into())
    }

    /// Takes back what one epoch changed, or says what would come of it.
    async fn revert(&self, _: pb::RevertRequest) -> Result<pb::RevertResponse, RequestError> {
        Err(Refused::Invalid("nothing can be reverted here".into()).into())
    }

    /// What all radiants remember, in one order.
    async fn timeline(&self) -> Result<pb::TimelineResponse, RequestError> {
        Err(Refused::Invalid("nothing is remembered here".into()).into())
    }

    /// Spreads shards over the orders, says how that is to be done, or what would come of it.
    async fn rebalance(&self, _: pb::RebalanceRequest) -> Result<pb::RebalanceResponse, RequestError> {
        Err(Refused::Invalid("shards cannot be spread here".into()).into())
    }

    /// Every move of a shard: why, what else could have been done, what came of it.
    async fn explain(&self, _: pb::ExplainRequest) -> Result<pb::ExplainResponse, RequestError> {
        Err(Refused::Invalid("moves cannot be explained here".into()).into())
    }

    /// Gives a radiant another part in the cluster, or says what would come of it.
    async fn member(&self, _: pb::MemberRequest) -> Result<pb::MemberResponse, RequestError> {
        Err(Refused::Invalid("membership cannot be changed here".into()).into())
    }

    /// Has an order that lost its majority begin anew, or says what that would lose.
    async fn reset(&self, _: pb::ResetRequest) -> Result<pb::ResetResponse, RequestError> {
        Err(Refused::Invalid("orders cannot be reset here".into()).into())
    }

    /// What the replica of an order here holds, to be compared with others.
    async fn digest(&self, _: pb::DigestRequest) -> Result<pb::DigestResponse, RequestError> {
        Err(Refused::Invalid("there are no replicas here".into()).into())
    }
}

/// A radiant that is in its cluster.
pub struct Inside {
    /// For data.
    pub door: Arc<dyn Door>,
    /// For everything about the cluster.
    pub overview: Arc<dyn Overview>,
}

/// What a gateway says until [`Entrance`] is open.
const NOT_INSIDE: &str = "this radiant has not found its cluster yet; try again, or ask another one";

/// How often a gateway looks whether it may open: nobody notices a twentieth of a second at the founding.
const LOOK: std::time::Duration = std::time::Duration::from_millis(50);

/// Returns when the entrance is open or `closing` is cancelled.
async fn opened(entrance: &Entrance, closing: &CancellationToken) {
    while entrance.get().is_none() && !closing.is_cancelled() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Empty until the radiant is in its cluster and has opened its orders; then never changes.
pub type Entrance = Arc<OnceLock<Inside>>;
