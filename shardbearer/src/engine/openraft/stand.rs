//! When a member stands for election.
//!
//! openraft waits for the election timeout and then for a random time as long again or half of it, all of which is time
//! without a herald. All that is needed is that the members' promise to the last one has run out, so that they may vote,
//! and that two do not stand at the same moment. So here a member stands as soon as that is so and a short random time has
//! passed. openraft's own wait goes on beside it. Both ask for a pre-vote first, which a herald that others hear refuses.

use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::rt::WatchReceiver;
use rand::Rng;
use rand::rngs::StdRng;

use super::{Openraft, nanoseconds};

/// The least and the most that a member waits once the promise has run out, in election timeouts.
const WAIT: std::ops::Range<f64> = 0.05..0.45;

/// A member's next candidacy.
pub(super) struct Stand {
    rng: StdRng,
    wait_ns: u64,
    /// Not before this moment (monotonic): the last attempt may still succeed.
    not_before_ns: u64,
}

impl Stand {
    pub(super) fn new(engine: &Openraft) -> Stand {
        let mut stand = Stand { rng: engine.context.world.rng(), wait_ns: 0, not_before_ns: 0 };
        stand.draw(engine);
        stand
    }

    fn draw(&mut self, engine: &Openraft) {
        let wait = engine.context.timing.election_max.mul_f64(self.rng.random_range(WAIT));
        self.wait_ns = nanoseconds(wait);
    }

    /// How long it is until this member should stand if it hears nothing; `None` if it has no reason to.
    pub(super) fn due_in(&self, engine: &Openraft) -> Option<Duration> {
        let promised = engine.heard_ns()? + nanoseconds(engine.context.timing.election_max);
        let due = (promised + self.wait_ns).max(self.not_before_ns);
        Some(Duration::from_nanos(due.saturating_sub(engine.context.world.monotonic_ns())))
    }

    /// Stands if it is time.
    pub(super) async fn tend(&mut self, engine: &Openraft) {
        if self.due_in(engine).is_none_or(|left| !left.is_zero()) {
            return;
        }
        // An engine that has stopped needs no herald.
        let _ = engine.raft.trigger().elect(true).await;
        let now = engine.context.world.monotonic_ns();
        self.draw(engine);
        // By chance as well: two that stood together, each with its own vote, would stand together again and again.
        self.not_before_ns = now + nanoseconds(engine.context.timing.election_min) + self.wait_ns;
    }
}

impl Openraft {
    /// Notes that a herald lives, or that somebody is about to be one.
    pub(super) fn heard(&self) {
        self.heard_ns.store(self.context.world.monotonic_ns(), Ordering::Release);
    }

    /// When this member last heard of a herald (monotonic, ns), if it is one who may vote and does not lead.
    fn heard_ns(&self) -> Option<u64> {
        let me = self.context.me.0;
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let votes = self.may_vote() && metrics.membership_config.voter_ids().any(|voter| voter == me);
        let heard = || self.heard_ns.load(Ordering::Acquire);
        (votes && metrics.current_leader != Some(me)).then(heard)
    }
}
