//! Reads that ask nobody. A herald answers reads without asking anybody while a quorum acknowledged it within four fifths
//! of the election timeout; older than that, it asks (a read index). That is sound because a
//! member that acknowledged refuses to vote for anybody else for the whole election timeout by its own monotonic
//! clock, counted from later than the herald counts; the fifth is for clocks that run at different
//! speeds, and a suspension of the machine ends it. Two gaps that openraft leaves are closed here: a member that restarts has forgotten when it
//! acknowledged, so it neither votes nor stands for election for that long ([`Openraft::may_vote`]); and a hand-over lets the
//! successor be elected at once, so from then on the herald asks before each read.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shardbearer_core::log::LogPos;

use super::{Openraft, nanoseconds, types};

impl Openraft {
    /// Whether this member may vote: not while it may have forgotten whom it acknowledged.
    pub(super) fn may_vote(&self) -> bool {
        self.context.world.monotonic_ns() >= self.votes_from_ns
    }

    /// What is applied here, if a lease says that nobody else can have acknowledged anything newer. What openraft would
    /// answer, without a message to its task: metrics may lag, but that a quorum acknowledged this leader at that
    /// moment stays true, and everything that this leader acknowledged it had applied before. An entry of its own term
    /// must be applied, because before that it does not know what its predecessors committed.
    ///
    /// One promise of the quorum is this member's own, and metrics are published only now and then: openraft may have
    /// stepped down and elected somebody else by this very member's vote, and they still say that it leads. So a vote
    /// that was asked for a later term ends this until that term has a leader, granted or not.
    pub(super) fn under_lease(&self) -> Option<LogPos> {
        use openraft::Instant;
        use openraft::async_runtime::watch::WatchReceiver;
        if self.lease_is_suspended() {
            return None;
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let acked =
            metrics.last_quorum_acked.filter(|_| metrics.current_leader == Some(self.context.me.0))?;
        let applied = metrics.last_applied.as_ref().map(types::position)?;
        let voted = self.asked_term.load(Ordering::SeqCst) > metrics.current_term;
        let valid = !voted && acked.elapsed() < self.lease() && applied.term == metrics.current_term;
        valid.then_some(applied)
    }

    /// Whether the lease counts for nothing at the moment: the lead was offered to another, or the machine was suspended.
    /// Of a suspension the clock by which leases run knows nothing, while others waited and elected. What happened
    /// before it must have run out by the time leases count again. A virtual machine that its host stops cannot see
    /// that at all; see docs/operations.md.
    pub(super) fn lease_is_suspended(&self) -> bool {
        const NOTICEABLE_NS: u64 = 1_000_000;
        let now = self.context.world.monotonic_ns();
        let suspended = self.context.world.suspended_ns();
        if suspended > self.suspended_ns.load(Ordering::Acquire) + NOTICEABLE_NS {
            let until = now + 2 * nanoseconds(self.context.timing.election_max);
            self.no_lease_until_ns.fetch_max(until, Ordering::AcqRel);
            self.suspended_ns.fetch_max(suspended, Ordering::AcqRel);
        }
        now < self.no_lease_until_ns.load(Ordering::Acquire)
    }

    /// For how long after a quorum's acknowledgement reads need no other: see the head of this file.
    pub(super) fn lease(&self) -> Duration {
        self.context.timing.election_max / 5 * 4
    }
}

/// Lets the member stand for election once it may vote.
pub(super) async fn ready_to_vote(engine: Arc<Openraft>) {
    while !engine.may_vote() {
        let left = engine.votes_from_ns.saturating_sub(engine.context.world.monotonic_ns());
        tokio::time::sleep(Duration::from_nanos(left.max(1))).await;
    }
    if !engine.closed.load(Ordering::Acquire) {
        engine.raft.runtime_config().elect(true);
    }
}
