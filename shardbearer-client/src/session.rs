//! Numbers for writes, so that a retry takes effect at most once.
//!
//! A few sessions are shared by all calls of a client: a shard remembers sessions, and should remember few. Each
//! session has a **window**: the distance from the oldest number it still waits for to the newest. Shards keep every
//! reply in that window, so it is bounded; a slow call can fill the window of its own session and no other.
//! A [`Ticket`] is one number. Dropping it, answered or not, closes the number; so a future that is dropped half-way
//! leaves nothing behind.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::Rng;
use shardbearer_core::ids::SessionId;
use shardbearer_core::kv::RequestId;
use shardbearer_core::slots::SLOTS;
use tokio::sync::Notify;

/// The numbers of one session. Pure.
#[derive(Debug, Default)]
struct Numbers {
    last: u64,
    waiting: BTreeSet<u64>,
}

impl Numbers {
    /// The lowest number that is still waited for; the next one if none is.
    fn floor(&self) -> u64 {
        self.waiting.first().copied().unwrap_or(self.last + 1)
    }

    /// The next number, unless the window is full.
    fn take(&mut self, window: u64) -> Option<u64> {
        if self.last + 1 - self.floor() >= window {
            return None;
        }
        self.last += 1;
        self.waiting.insert(self.last);
        Some(self.last)
    }

    fn close(&mut self, number: u64) {
        self.waiting.remove(&number);
    }
}

struct Session {
    id: SessionId,
    numbers: Mutex<Numbers>,
}

/// The sessions of one client.
pub(crate) struct Sessions {
    sessions: Vec<Session>,
    window: u64,
    room: Notify,
}

impl Sessions {
    /// New sessions with random ids; numbers of an earlier life are never used again.
    pub(crate) fn new(count: usize, window: u64) -> Arc<Sessions> {
        let session =
            |_| Session { id: SessionId(rand::rng().random_range(1..=u128::MAX)), numbers: Mutex::default() };
        Arc::new(Sessions {
            sessions: (0..count.max(1)).map(session).collect(),
            window: window.max(1),
            room: Notify::new(),
        })
    }

    /// A number for a request to a slot, as soon as a session has room for one. Neighbouring slots, which are of one shard,
    /// share a session as long as it has room: a shard writes a row per session and log entry.
    pub(crate) async fn ticket(self: &Arc<Self>, slot: u16) -> Ticket {
        loop {
            // Registered before looking, so that room made in between is not missed.
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            if let Some(ticket) = self.try_ticket(slot) {
                return ticket;
            }
            room.await;
        }
    }

    fn try_ticket(self: &Arc<Self>, slot: u16) -> Option<Ticket> {
        let first = usize::from(slot) * self.sessions.len() / SLOTS;
        (0..self.sessions.len()).find_map(|offset| {
            let at = (first.wrapping_add(offset)) % self.sessions.len();
            let number = self.sessions[at].numbers.lock().take(self.window)?;
            Some(Ticket { sessions: self.clone(), at, number })
        })
    }
}

/// A number that counts as waited for until this is dropped.
pub(crate) struct Ticket {
    sessions: Arc<Sessions>,
    at: usize,
    number: u64,
}

impl Ticket {
    /// The id for the next attempt. The floor is as of now: it may have risen since the last attempt, never
    /// above this number.
    pub(crate) fn id(&self, retry: bool) -> RequestId {
        let session = &self.sessions.sessions[self.at];
        let unanswered_from = session.numbers.lock().floor();
        RequestId { session: session.id, number: self.number, unanswered_from, retry }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.sessions.sessions[self.at].numbers.lock().close(self.number);
        // One number may open many: the floor can jump over all that were answered out of order.
        self.sessions.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The floor must never pass a number that is waited for, and the window never exceed its bound, in whatever
    /// order numbers are closed.
    #[test]
    fn the_window_is_bounded_and_the_floor_waits_for_the_slowest() {
        let mut numbers = Numbers::default();
        assert_eq!(numbers.floor(), 1);
        let taken: Vec<u64> = (0..4).filter_map(|_| numbers.take(4)).collect();
        assert_eq!(taken, [1, 2, 3, 4]);
        assert_eq!(numbers.take(4), None, "full");
        numbers.close(3);
        numbers.close(2);
        assert_eq!((numbers.floor(), numbers.take(4)), (1, None), "1 is still waited for");
        numbers.close(1);
        assert_eq!((numbers.floor(), numbers.take(4)), (4, Some(5)));
        numbers.close(4);
        numbers.close(5);
        assert_eq!(numbers.floor(), 6, "nothing is waited for");
    }

    #[test]
    fn a_stuck_call_blocks_only_its_own_session() {
        let sessions = Sessions::new(2, 2);
        let stuck = sessions.try_ticket(0).expect("room");
        for _ in 0..10 {
            let quick = sessions.try_ticket(0).expect("the other session has room");
            assert!(quick.id(false).unanswered_from <= quick.number);
        }
        assert_eq!(stuck.id(true).unanswered_from, stuck.number);
    }

    #[tokio::test]
    async fn whoever_waits_for_room_gets_it_when_a_ticket_is_dropped() {
        let sessions = Sessions::new(1, 1);
        let first = sessions.ticket(0).await;
        let waiter = tokio::spawn({
            let sessions = sessions.clone();
            async move { sessions.ticket(0).await.number }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        drop(first);
        assert_eq!(waiter.await.expect("not cancelled"), 2);
    }
}
