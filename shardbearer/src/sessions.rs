//! Request ids for writes that come without one, so that attempts made here apply once.
//!
//! A small pool of sessions instead of one per connection: shards remember sessions, and a radiant with
//! thousands of connections should not fill their tables. Each session knows its unanswered numbers, so
//! that one slow request holds back only its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use shardbearer_core::ids::SessionId;
use shardbearer_core::kv::RequestId;
use shardbearer_core::world::World;

/// Sessions in the pool.
const SESSIONS: usize = 64;

/// The pool of one radiant.
pub struct Sessions {
    sessions: Vec<Session>,
    turn: AtomicUsize,
}

struct Session {
    id: SessionId,
    numbers: Mutex<Numbers>,
}

#[derive(Default)]
struct Numbers {
    last: u64,
    unanswered: BTreeSet<u64>,
}

impl Sessions {
    /// New sessions, drawn at random: those of an earlier life of the radiant are never used again.
    pub fn new(world: &World) -> Arc<Sessions> {
        let session = |_| Session { id: SessionId(world.id()), numbers: Mutex::default() };
        Arc::new(Sessions { sessions: (0..SESSIONS).map(session).collect(), turn: AtomicUsize::new(0) })
    }

    /// The next id; it counts as unanswered until the ticket is dropped.
    pub fn next(self: &Arc<Self>) -> Ticket {
        let at = self.turn.fetch_add(1, Ordering::Relaxed) % self.sessions.len();
        let session = &self.sessions[at];
        let mut numbers = session.numbers.lock();
        numbers.last += 1;
        let number = numbers.last;
        numbers.unanswered.insert(number);
        let unanswered_from = numbers.unanswered.first().copied().unwrap_or(number);
        let id = RequestId { session: session.id, number, unanswered_from, retry: false };
        Ticket { sessions: self.clone(), at, id }
    }
}

/// A request that waits for its answer.
pub struct Ticket {
    sessions: Arc<Sessions>,
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
        self.sessions.sessions[self.at].numbers.lock().unanswered.remove(&self.id.number);
    }
}
