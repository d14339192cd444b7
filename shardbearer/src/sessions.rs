//! Request ids for writes that come without one, so that attempts made here apply once.
//!
//! Sessions belong to shards rather than to connections: what a shard remembers of a session is one row, written
//! once per log entry however many requests the entry holds, so all requests of a shard should share a session. A request
//! that gets no answer for long would make that row grow with everything that is answered meanwhile; so a session
//! whose window is full is left alone until it has caught up, and the shard's next one is used.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use shardbearer_core::ids::{SessionId, ShardId};
use shardbearer_core::kv::RequestId;
use shardbearer_core::world::World;

/// Groups of shards that share sessions; more shards than this share more.
const GROUPS: usize = 64;

/// Sessions of a group. Those behind the first are used, and cost anything, only when a request is stuck.
const SESSIONS: usize = 8;

/// Numbers from the first unanswered one on that a session may give out before the next one is used. Enough for what
/// is in flight on one shard while all is well.
const WINDOW: u64 = 1_024;

/// The sessions of one radiant.
pub struct Sessions {
    groups: Vec<Mutex<Vec<Session>>>,
}

struct Session {
    id: SessionId,
    last: u64,
    unanswered: BTreeSet<u64>,
}

impl Session {
    fn first_unanswered(&self) -> u64 {
        self.unanswered.first().copied().unwrap_or(self.last + 1)
    }

    fn window(&self) -> u64 {
        self.last + 1 - self.first_unanswered()
    }
}

impl Sessions {
    /// New sessions, drawn at random: those of an earlier life of the radiant are never used again.
    pub fn new(world: &World) -> Arc<Sessions> {
        let session = |_| Session { id: SessionId(world.id()), last: 0, unanswered: BTreeSet::new() };
        let group = |_| Mutex::new((0..SESSIONS).map(session).collect());
        Arc::new(Sessions { groups: (0..GROUPS).map(group).collect() })
    }

    /// The next id for a request to a shard; it counts as unanswered until the ticket is dropped.
    pub fn next(self: &Arc<Self>, shard: ShardId) -> Ticket {
        let group = (shard.0 % GROUPS as u64) as usize;
        let mut sessions = self.groups[group].lock();
        let open = sessions.iter().position(|session| session.window() < WINDOW);
        // Where all are full, the one that is least so.
        let at = open.or_else(|| (0..sessions.len()).min_by_key(|at| sessions[*at].window())).unwrap_or(0);
        let session = &mut sessions[at];
        session.last += 1;
        let number = session.last;
        session.unanswered.insert(number);
        let unanswered_from = session.first_unanswered();
        let id = RequestId { session: session.id, number, unanswered_from, retry: false };
        Ticket { sessions: self.clone(), group, at, id }
    }
}

/// A request that waits for its answer.
pub struct Ticket {
    sessions: Arc<Sessions>,
    group: usize,
    at: usize,
    id: RequestId,
}

impl Ticket {
    /// Its id.
    pub fn id(&self) -> RequestId {
        self.id
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.sessions.groups[self.group].lock()[self.at].unanswered.remove(&self.id.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Real;

    #[test]
    fn a_stuck_request_holds_back_only_its_session() {
        let (world, _real) = Real::create();
        let sessions = Sessions::new(&world);
        let stuck = sessions.next(ShardId(7));
        for _ in 1..WINDOW {
            let next = sessions.next(ShardId(7));
            assert_eq!((next.id().session, next.id().unanswered_from), (stuck.id().session, 1));
        }
        let other = sessions.next(ShardId(7));
        assert_ne!(other.id().session, stuck.id().session, "the window of the first is full");
        assert_eq!((other.id().number, other.id().unanswered_from), (1, 1));
        assert_ne!(
            sessions.next(ShardId(8)).id().session,
            stuck.id().session,
            "another shard, another session"
        );
        let first = stuck.id().session;
        drop(stuck);
        let next = sessions.next(ShardId(7));
        assert_eq!((next.id().session, next.id().unanswered_from), (first, WINDOW + 1), "it has caught up");
    }
}
