//! What a step asks the driver to do, and in which order it does it.
//!
//! 1. `persist`, as one atomic batch;
//! 2. `now` leaves at once, `after` when all that was ever asked to be persisted up to here is durable;
//! 3. `commit`: the entries are applied once they are durable here as well, and whoever proposed one gets the reply;
//! 4. `answers`, `snapshots`.
//!
//! What may be lost on its way and is still wanted goes into `standing`: it leaves at once as well, and the driver sends it
//! again, a question after each heartbeat and entries after two, until the protocol says that it arrived, or that it stands no longer.
//!
//! Several steps may share one `Ready`: everything in it only adds up.

use std::ops::Range;

use bytes::Bytes;

use super::{Entry, Payload, Ticket};
use crate::error::Refused;
use crate::ids::RadiantId;
use crate::log::LogPos;

/// What a step asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready<M> {
    /// Changes of the log, in order.
    pub persist: Vec<Persist>,
    /// Messages that promise something: they leave when everything persisted so far is durable.
    pub after: Vec<Envelope<M>>,
    /// Messages that promise nothing: they leave at once, even before what they carry is durable here.
    pub now: Vec<Envelope<M>>,
    /// Messages that promise nothing, leave at once, and are sent again until they have arrived; in order.
    pub standing: Vec<Standing<M>>,
    /// Entries up to this index are committed; 0 says nothing new. Never beyond the log's end.
    pub commit: u64,
    /// To those who wait.
    pub answers: Vec<(Ticket, Answer)>,
    /// Peers that need a snapshot. The driver sends each one at a time, so asking again is harmless; the peer gets
    /// [`Input::Installed`](super::Input::Installed).
    pub snapshots: Vec<RadiantId>,
}

/// A change of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Persist {
    /// Adds an entry directly after the last. Who waits under the ticket gets the reply to it once it is applied, or
    /// `Unknown` if another takes its place.
    Append(Entry, Option<Ticket>),
    /// Removes the entries from this index on. Never one that is committed.
    Truncate {
        /// First index removed.
        from: u64,
    },
    /// Replaces the hard state, whole.
    Hard(Bytes),
}

/// A message on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<M> {
    /// For whom.
    pub to: RadiantId,
    /// What.
    pub message: M,
    /// Entries to go with it, as the log has them after this step; as many of the first as fit.
    pub entries: Range<u64>,
}

/// A change of what the driver sends again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing<M> {
    /// A question that is asked for whoever waits under the ticket. It stands until the peer was heard, or until nobody waits
    /// under the ticket any more: see [`Input::GivenUp`](super::Input::GivenUp).
    Ask {
        /// For whom it is asked.
        ticket: Ticket,
        /// Who is asked.
        to: RadiantId,
        /// What.
        message: M,
    },
    /// The question of this ticket to this peer stands no longer.
    Heard {
        /// The ticket.
        ticket: Ticket,
        /// Who was asked.
        from: RadiantId,
    },
    /// Entries for a peer, in the place of those that stood for it. What of them the log still has is read anew each time;
    /// they stand no longer once the log is cut under their end, or forgot their beginning.
    Deliver(Envelope<M>),
    /// What stood for a peer arrived, or does not matter any more.
    Delivered {
        /// The peer.
        to: RadiantId,
    },
}

/// The end of a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It did not and will not happen. For a proposal: it is in no log anywhere.
    Refused(Refused),
    /// It may have happened.
    Unknown(String),
    /// For a barrier: read when this index is applied.
    Read(u64),
    /// For everything else: done, or accepted. Leaves when everything persisted so far is durable.
    Done,
}

impl<M> Default for Ready<M> {
    fn default() -> Self {
        Ready {
            persist: Vec::new(),
            after: Vec::new(),
            now: Vec::new(),
            standing: Vec::new(),
            commit: 0,
            answers: Vec::new(),
            snapshots: Vec::new(),
        }
    }
}

impl<M> Ready<M> {
    /// Adds an entry to the log.
    pub fn append(&mut self, position: LogPos, payload: Payload, ticket: Option<Ticket>) {
        self.persist.push(Persist::Append(Entry { position, payload }, ticket));
    }

    /// Cuts the log. Entries that an earlier step wanted to send from there are not sent: they would be others by now. What
    /// they were to take the place of does not stand any more either.
    pub fn truncate(&mut self, from: u64) {
        self.persist.push(Persist::Truncate { from });
        for standing in &mut self.standing {
            if let Standing::Deliver(Envelope { to, entries, .. }) = standing
                && entries.end > from
            {
                *standing = Standing::Delivered { to: *to };
            }
        }
    }

    /// Replaces the hard state.
    pub fn hard(&mut self, hard: impl Into<Bytes>) {
        self.persist.push(Persist::Hard(hard.into()));
    }

    /// Sends when all that was persisted so far is durable.
    pub fn send_after(&mut self, to: RadiantId, message: M) {
        self.after.push(Envelope { to, message, entries: 0..0 });
    }

    /// Sends at once.
    pub fn send_now(&mut self, to: RadiantId, message: M) {
        self.now.push(Envelope { to, message, entries: 0..0 });
    }

    /// Asks a peer for whoever waits under the ticket, again and again until it is [`Ready::heard`].
    pub fn ask(&mut self, ticket: Ticket, to: RadiantId, message: M) {
        self.standing.push(Standing::Ask { ticket, to, message });
    }

    /// The peer answered the ticket's question.
    pub fn heard(&mut self, ticket: Ticket, from: RadiantId) {
        self.standing.push(Standing::Heard { ticket, from });
    }

    /// Sends entries, again and again until they are [`Ready::delivered`] or others are to be.
    pub fn deliver(&mut self, to: RadiantId, message: M, entries: Range<u64>) {
        self.standing.push(Standing::Deliver(Envelope { to, message, entries }));
    }

    /// What stood for a peer arrived, or does not matter any more.
    pub fn delivered(&mut self, to: RadiantId) {
        self.standing.push(Standing::Delivered { to });
    }

    /// Entries up to this index are committed.
    pub fn commit(&mut self, upto: u64) {
        self.commit = self.commit.max(upto);
    }

    /// Ends a wait.
    pub fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.answers.push((ticket, answer));
    }

    /// Ends a wait for something that will not happen.
    pub fn refuse(&mut self, ticket: Ticket, why: Refused) {
        self.answer(ticket, Answer::Refused(why));
    }

    /// A peer needs a snapshot.
    pub fn snapshot(&mut self, to: RadiantId) {
        if !self.snapshots.contains(&to) {
            self.snapshots.push(to);
        }
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        let Ready { persist, after, now, standing, commit, answers, snapshots } = self;
        persist.is_empty()
            && after.is_empty()
            && now.is_empty()
            && standing.is_empty()
            && *commit == 0
            && answers.is_empty()
            && snapshots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_step_cuts_is_not_sent_and_what_stood_before_it_neither() {
        let (kept, cut) = (RadiantId(2), RadiantId(3));
        let mut ready = Ready::default();
        ready.deliver(kept, "take", 3..5);
        ready.deliver(cut, "take", 3..6);
        ready.truncate(5);
        let stays = Standing::Deliver(Envelope { to: kept, message: "take", entries: 3..5 });
        assert_eq!(ready.standing, [stays, Standing::Delivered { to: cut }]);
        ready.deliver(cut, "take", 5..6);
        assert!(matches!(ready.standing.last(), Some(Standing::Deliver(_))), "the log goes on from there");
    }
}
