//! Newcomers learn before they count.
//!
//! openraft's own wait takes a newcomer for caught up when it is within so many entries of the log's end, thousands, also if
//! it never answered: one that nobody can reach would become a voter of a young order, and stop it with the next failure.

use shardbearer_core::engine::not_herald;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::RadiantId;

use super::{Openraft, nanoseconds};

/// A newcomer that takes nothing for so many election timeouts is given up. An image may take longer to arrive than that; who
/// asks again then finds it further.
const PATIENCE: u32 = 60;

impl Openraft {
    /// Makes a newcomer a learner, and waits until it has all that was in the log when it became one.
    pub(super) async fn bring_up(&self, newcomer: u64) -> Result<(), RequestError> {
        let added = self.raft.add_learner(newcomer, openraft::impls::EmptyNode::new(), false).await;
        let wanted = added.map_err(|error| RequestError::Unknown(error.to_string()))?.log_id.index;
        let world = &self.context.world;
        let (mut metrics, mut has, mut since) = (self.raft.metrics(), None, world.monotonic_ns());
        loop {
            let matched = {
                let now = metrics.borrow_and_update();
                let Some(replication) = &now.replication else {
                    return Err(not_herald(self.context.order, now.current_leader.map(RadiantId)));
                };
                replication.get(&newcomer).and_then(|id| id.as_ref()).map(|id| id.index)
            };
            if matched >= Some(wanted) {
                return Ok(());
            }
            if matched > has {
                (has, since) = (matched, world.monotonic_ns());
            }
            let silent = world.monotonic_ns().saturating_sub(since);
            if silent > nanoseconds(self.context.timing.election_max * PATIENCE) {
                let why = format!("radiant {newcomer} does not catch up; it is no member yet");
                return Err(Refused::Unavailable(why).into());
            }
            let changed = tokio::time::timeout(self.context.timing.heartbeat, metrics.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                return Err(RequestError::Unknown("the order closes".into()));
            }
        }
    }
}
