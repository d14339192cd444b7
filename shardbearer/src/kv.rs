//! The only door for data: every gateway hands its requests in here.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shardbearer_core::error::RequestError;
use shardbearer_core::ids::{ClusterId, OrderId, RadiantId, ShardId};
use shardbearer_core::kv::{Command, Reply, RequestId};
use shardbearer_core::topology::Topology;

use crate::map::Extent;

/// Calls that arrived together. Independent of each other: each has its own result. Calls on the
/// same shard are carried out in their order.
#[derive(Clone, Debug)]
pub struct Request {
    /// Name of the table.
    pub table: String,
    /// In the caller's order.
    pub calls: Vec<Call>,
    /// How long the caller is willing to wait.
    pub deadline: Duration,
}

/// One command and whom it concerns.
#[derive(Clone, Debug)]
pub struct Call {
    /// The client's own request id. Without one a write gets one of this radiant's, so that attempts
    /// made here within the deadline apply once.
    pub id: Option<RequestId>,
    /// The cluster that was asked before and may have done it. Another one cannot know, and refuses.
    pub cluster: Option<ClusterId>,
    /// Whom it concerns.
    pub target: Target,
    /// What to do.
    pub command: Command,
}

/// Whom a command concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The shard of the command's key. All keys of a batch must be of one shard.
    Key,
    /// This shard, and those that were split off it since it ended there; for `Scan`, `Count` and `Clear`.
    Shard(Extent),
    /// All shards of the table; for `Scan` (merged in key order), `Count` (summed) and `Clear`.
    Table,
}

impl Call {
    /// A call without a request id for the shard of the command's key, or for the whole table if it has none.
    pub fn new(command: Command) -> Call {
        let target = if command.key().is_some() { Target::Key } else { Target::Table };
        Call { id: None, cluster: None, target, command }
    }
}

/// The result of one call.
pub type CallResult = Result<Reply, RequestError>;

/// What gateways see of a radiant.
#[async_trait]
pub trait Door: Send + Sync {
    /// Carries out the calls; one result per call, in their order. Returns within the deadline.
    async fn execute(&self, request: Request) -> Vec<CallResult>;

    /// The configuration in force, as known here.
    fn topology(&self) -> Arc<Topology>;

    /// This radiant.
    fn me(&self) -> RadiantId;

    /// Who leads the order, as far as known here. Not one to whom the way has just broken: it may be dead, and where it
    /// is not, this radiant passes on what it is asked.
    fn herald(&self, order: OrderId) -> Option<RadiantId>;

    /// The shard of a key, and the order that owns it as far as known; `None` for an unknown table.
    fn locate(&self, table: &str, key: &[u8]) -> Option<(ShardId, OrderId)>;
}
