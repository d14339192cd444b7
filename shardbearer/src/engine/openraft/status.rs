//! What openraft's metrics say, as the status that everybody else reads.
//!
//! openraft publishes several times for each entry how far it is. Nobody waits for that, so it is looked at when somebody
//! asks. Who leads, and with whom, is what others wait for, and is watched.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use openraft::rt::{WatchReceiver, WatchSender};
use shardbearer_core::engine::EngineStatus;
use shardbearer_core::ids::RadiantId;

use super::Openraft;
use super::silence::Reign;
use super::stand::Stand;
use crate::beat::until_beat;

impl Openraft {
    /// A status with how far the log and its replicas are now: those of members that answer. Of others nothing is known, and nobody
    /// is to give them the lead, which they could not keep.
    pub(super) fn with_progress(&self, status: EngineStatus) -> EngineStatus {
        use openraft::Instant;
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let lately = self.context.timing.election_max;
        let acked = |member: &u64| metrics.heartbeat.as_ref()?.get(member).copied()?;
        let answers = |member: &u64| {
            *member == self.context.me.0 || acked(member).is_some_and(|acked| acked.elapsed() <= lately)
        };
        EngineStatus {
            last_log: metrics.last_log_index.map_or(0, |index| index + 1),
            applied: metrics.last_applied.as_ref().map_or(0, |id| id.index + 1),
            matched: metrics
                .replication
                .iter()
                .flatten()
                .filter(|(member, _)| answers(member))
                .map(|(member, id)| (RadiantId(*member), id.as_ref().map_or(0, |id| id.index + 1)))
                .collect(),
            ..status
        }
    }

    /// Takes over who leads, and who are members.
    pub(super) fn refresh(&self) {
        use openraft::Instant;
        let next = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let single = metrics.membership_config.voter_ids().all(|id| id == self.context.me.0);
            let herald = metrics.current_leader.map(RadiantId);
            let lease = self.context.timing.election_max;
            let heard = metrics.last_quorum_acked.is_some_and(|acked| acked.elapsed() <= lease);
            let failure = match &metrics.running_state {
                Ok(()) => None,
                Err(openraft::error::Fatal::Stopped) => None,
                Err(fatal) => Some(fatal.to_string()),
            };
            let closed = self.closed.load(Ordering::Acquire) || failure.is_some();
            EngineStatus {
                herald,
                leading: herald == Some(self.context.me) && (single || heard) && !closed,
                term: metrics.current_term,
                members: metrics.membership_config.voter_ids().map(RadiantId).collect(),
                closed,
                failure,
                ..EngineStatus::default()
            }
        };
        self.status.send_if_modified(|status| {
            let next = EngineStatus { version: status.version, ..next };
            if *status == next {
                return false;
            }
            *status = EngineStatus { version: status.version + 1, ..next };
            true
        });
    }

    /// Whether this member was elected, and no quorum has answered it yet.
    fn elected(&self) -> bool {
        let elected = self.raft.metrics().borrow_watched().current_leader == Some(self.context.me.0);
        elected && !self.status.borrow_watched().leading
    }
}

/// Follows openraft until it stops.
pub(super) async fn watch(engine: Arc<Openraft>) {
    let (mut servers, mut all) = (engine.raft.server_metrics(), engine.raft.metrics());
    let (mut stand, mut reign) = (Stand::new(&engine), Reign::default());
    loop {
        let news = async {
            match engine.elected() {
                // That a quorum answers is progress.
                true => all.changed().await,
                false => servers.changed().await,
            }
        };
        // The lease runs out without an event, and so does the room in the log, so look regularly too.
        let tick = until_beat(&engine.context.world, engine.context.timing.heartbeat);
        let tick = tick.min(stand.due_in(&engine).unwrap_or(tick));
        let news = tokio::time::timeout(tick, news).await;
        engine.refresh();
        engine.compact().await;
        reign.tend(&engine);
        stand.tend(&engine).await;
        if matches!(news, Ok(Err(_))) || engine.status.borrow_watched().closed {
            engine.refresh();
            return;
        }
    }
}
