//! What is sent again until it has arrived: questions for those who wait, and entries for peers. Of the driver; a protocol
//! only says what stands.

use std::collections::BTreeMap;

use super::{Envelope, Standing, Ticket};
use crate::ids::RadiantId;

/// Everything that stands, and when it was last sent, in any unit of time.
#[derive(Clone, Debug)]
pub struct Letters<M> {
    questions: BTreeMap<(Ticket, RadiantId), (M, u64)>,
    /// One for each peer.
    parcels: BTreeMap<RadiantId, (Envelope<M>, u64)>,
}

impl<M> Default for Letters<M> {
    fn default() -> Self {
        Letters { questions: BTreeMap::new(), parcels: BTreeMap::new() }
    }
}

impl<M: Clone> Letters<M> {
    /// Whether nothing stands.
    pub fn is_empty(&self) -> bool {
        self.questions.is_empty() && self.parcels.is_empty()
    }

    /// Takes a change in. Returns what is to be sent at once.
    pub fn change(&mut self, change: Standing<M>, now: u64) -> Option<Envelope<M>> {
        match change {
            Standing::Ask { ticket, to, message } => {
                self.questions.insert((ticket, to), (message.clone(), now));
                Some(Envelope { to, message, entries: 0..0 })
            }
            Standing::Heard { ticket, from } => {
                self.questions.remove(&(ticket, from));
                None
            }
            Standing::Deliver(envelope) => {
                self.parcels.insert(envelope.to, (envelope.clone(), now));
                Some(envelope)
            }
            Standing::Delivered { to } => {
                self.parcels.remove(&to);
                None
            }
        }
    }

    /// Only the questions of tickets under which somebody waits still stand.
    pub fn keep(&mut self, waits: impl Fn(Ticket) -> bool) {
        self.questions.retain(|(ticket, _), _| waits(*ticket));
    }

    /// The log was cut: what would be read there now is something else.
    pub fn truncated(&mut self, from: u64) {
        self.parcels.retain(|_, (envelope, _)| envelope.entries.end <= from);
    }

    /// The log up to there is forgotten: what would be read there now is nothing, and a message without the entries that it
    /// was sent for may say something else.
    pub fn purged(&mut self, upto: u64) {
        self.parcels.retain(|_, (envelope, _)| envelope.entries.start > upto);
    }

    /// The log was emptied, and begins anew elsewhere.
    pub fn emptied(&mut self) {
        self.parcels.clear();
    }

    /// What is to be sent again: it was sent `wait` ago or earlier, entries twice that.
    pub fn due(&mut self, now: u64, wait: u64) -> Vec<Envelope<M>> {
        let mut due = Vec::new();
        for ((_, to), (message, sent)) in &mut self.questions {
            if now.saturating_sub(*sent) >= wait {
                *sent = now;
                due.push(Envelope { to: *to, message: message.clone(), entries: 0..0 });
            }
        }
        for (envelope, sent) in self.parcels.values_mut() {
            if now.saturating_sub(*sent) >= 2 * wait {
                *sent = now;
                due.push(envelope.clone());
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: RadiantId = RadiantId(2);
    const OTHER: RadiantId = RadiantId(3);

    fn sent(letters: &mut Letters<&'static str>, now: u64) -> Vec<(u64, &'static str)> {
        letters.due(now, 10).into_iter().map(|envelope| (envelope.to.0, envelope.message)).collect()
    }

    #[test]
    fn a_question_is_asked_again_until_it_is_answered_or_nobody_waits() {
        let mut letters = Letters::default();
        for (ticket, to, message) in [(1, PEER, "a"), (1, OTHER, "a"), (2, PEER, "b")] {
            let asked = letters.change(Standing::Ask { ticket: Ticket(ticket), to, message }, 0);
            assert_eq!(asked.map(|envelope| (envelope.to, envelope.message)), Some((to, message)));
        }
        assert_eq!(sent(&mut letters, 9), []);
        assert_eq!(sent(&mut letters, 10), [(2, "a"), (3, "a"), (2, "b")]);
        assert_eq!(letters.change(Standing::Heard { ticket: Ticket(1), from: PEER }, 11), None);
        assert_eq!(sent(&mut letters, 19), []);
        assert_eq!(sent(&mut letters, 20), [(3, "a"), (2, "b")]);
        letters.keep(|ticket| ticket == Ticket(2));
        assert_eq!(sent(&mut letters, 30), [(2, "b")]);
    }

    #[test]
    fn a_peer_gets_the_last_entries_again_until_they_are_there_or_here_no_longer() {
        let mut letters = Letters::default();
        let envelope = |message, entries| Envelope { to: PEER, message, entries };
        for entries in [1..3, 3..5] {
            letters.change(Standing::Deliver(envelope("take", entries)), 0);
        }
        assert_eq!(letters.due(19, 10), []);
        assert_eq!(letters.due(20, 10), [envelope("take", 3..5)]);
        letters.truncated(5);
        assert_eq!(letters.due(40, 10), [envelope("take", 3..5)]);
        letters.truncated(4);
        assert_eq!(letters.due(60, 10), []);
        letters.change(Standing::Deliver(envelope("take", 3..4)), 60);
        letters.change(Standing::Delivered { to: PEER }, 61);
        assert_eq!(letters.due(90, 10), []);
        letters.change(Standing::Deliver(envelope("take", 3..4)), 90);
        letters.purged(2);
        assert_eq!(letters.due(110, 10), [envelope("take", 3..4)]);
        letters.purged(3);
        assert_eq!(letters.due(130, 10), []);
        letters.change(Standing::Deliver(envelope("take", 5..6)), 130);
        letters.emptied();
        assert_eq!(letters.due(150, 10), []);
    }
}
