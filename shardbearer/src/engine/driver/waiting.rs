//! Who waits for what, and until when. Each ticket is answered exactly once: by the reply to its entry, by the
//! protocol, at its deadline, or at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::log::LogPos;
use shardbearer_core::protocol::{Answer, Ticket};
use tokio::sync::oneshot;

pub type Reply<T> = oneshot::Sender<Result<T, RequestError>>;

/// How long a proposal may be on its way. An order has but one, so what waits behind it waits for as long; callers with
/// later deadlines hear that it is unknown.
const PROPOSAL_MAX: Duration = Duration::from_secs(10);
/// How long a read may wait for its barrier and for what is not applied yet.
const READ_MAX: Duration = Duration::from_secs(5);
/// How long anything else may take.
const ASK_MAX: Duration = Duration::from_secs(60);

/// Somebody who waits.
pub enum Waiter {
    Proposal(Reply<Bytes>),
    /// All that share a barrier.
    Reads(Vec<Reply<LogPos>>),
    Ask(Reply<()>),
}

struct Wait {
    waiter: Waiter,
    /// Monotonic, ns.
    until: u64,
    /// A proposal that is in a log.
    appended: bool,
}

/// Reads whose index is known but not applied.
struct Behind {
    index: u64,
    replies: Vec<Reply<LogPos>>,
    until: u64,
}

/// Everybody who waits for one order.
#[derive(Default)]
pub struct Waiting {
    last: u64,
    waits: BTreeMap<Ticket, Wait>,
    /// Entries in the log that somebody waits for, by index: their term and ticket.
    entries: BTreeMap<u64, (u64, Ticket)>,
    behind: Vec<Behind>,
}

impl Waiting {
    /// Lets somebody wait.
    pub fn enter(&mut self, waiter: Waiter, now: u64) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        let span = match &waiter {
            Waiter::Proposal(_) => PROPOSAL_MAX,
            Waiter::Reads(_) => READ_MAX,
            Waiter::Ask(_) => ASK_MAX,
        };
        let until = now.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
        self.waits.insert(ticket, Wait { waiter, until, appended: false });
        ticket
    }

    /// Whether somebody waits under a ticket.
    pub fn waits(&self, ticket: Ticket) -> bool {
        self.waits.contains_key(&ticket)
    }

    /// How many tickets are out.
    pub fn len(&self) -> usize {
        self.waits.len()
    }

    /// Barriers that the protocol has not answered.
    pub fn barriers(&self) -> usize {
        self.waits.values().filter(|wait| matches!(wait.waiter, Waiter::Reads(_))).count()
    }

    /// The ticket's proposal is in the log at this position.
    pub fn appended(&mut self, ticket: Ticket, position: LogPos) {
        if let Some(wait) = self.waits.get_mut(&ticket) {
            wait.appended = true;
            self.entries.insert(position.index, (position.term, ticket));
        }
    }

    /// Whether somebody waits for the reply to the entry of this position.
    pub fn wants(&self, position: LogPos) -> bool {
        let entry = self.entries.get(&position.index).filter(|entry| entry.0 == position.term);
        entry.is_some_and(|(_, ticket)| self.waits.contains_key(ticket))
    }

    /// The log was cut.
    pub fn truncated(&mut self, from: u64) {
        for (_, (_, ticket)) in self.entries.split_off(&from) {
            // A peer may have it still, and it may come back.
            self.unknown(ticket, "another leads, whose log does not have it");
        }
    }

    /// A snapshot took the place of the log up to here; what became of the entries under it is not known.
    pub fn installed(&mut self, upto: u64) {
        let after = self.entries.split_off(&(upto + 1));
        for (_, (_, ticket)) in std::mem::replace(&mut self.entries, after) {
            self.unknown(ticket, "it may be part of a snapshot");
        }
    }

    /// The entry of this position was applied, with this reply.
    pub fn applied(&mut self, position: LogPos, reply: Bytes) {
        let Some((term, ticket)) = self.entries.remove(&position.index) else { return };
        if term != position.term {
            return self.unknown(ticket, "another entry took its place");
        }
        if let Some(Wait { waiter: Waiter::Proposal(caller), .. }) = self.waits.remove(&ticket) {
            let _ = caller.send(Ok(reply));
        }
    }

    /// Everything up to here is applied: reads that waited for it may go on.
    pub fn caught_up(&mut self, applied: LogPos) {
        for behind in self.behind.extract_if(.., |behind| behind.index <= applied.index) {
            for reply in behind.replies {
                let _ = reply.send(Ok(applied));
            }
        }
    }

    /// The protocol's answer.
    pub fn answer(&mut self, ticket: Ticket, answer: Answer) {
        let Some(wait) = self.waits.remove(&ticket) else { return };
        let result = match answer {
            Answer::Read(index) => match wait.waiter {
                Waiter::Reads(replies) => {
                    return self.behind.push(Behind { index, replies, until: wait.until });
                }
                waiter => return waiter.end(RequestError::Unknown("answered as if it were a read".into())),
            },
            Answer::Done => match wait.waiter {
                Waiter::Ask(caller) => return drop(caller.send(Ok(()))),
                waiter => return waiter.end(RequestError::Unknown("answered without a result".into())),
            },
            // A protocol that refuses what it appended is wrong about it.
            Answer::Refused(why) if wait.appended => RequestError::Unknown(why.to_string()),
            Answer::Refused(why) => why.into(),
            Answer::Unknown(why) => RequestError::Unknown(why),
        };
        wait.waiter.end(result);
    }

    fn unknown(&mut self, ticket: Ticket, why: &str) {
        self.answer(ticket, Answer::Unknown(why.into()));
    }

    /// Ends every wait whose time has come. Returns the tickets of which the protocol may still hold something.
    #[must_use]
    pub fn expire(&mut self, now: u64) -> Vec<Ticket> {
        let late: Vec<Ticket> =
            self.waits.iter().filter(|(_, wait)| wait.until <= now).map(|(ticket, _)| *ticket).collect();
        let mut given_up = Vec::new();
        for ticket in late {
            if let Some(wait) = self.waits.remove(&ticket) {
                if !wait.appended {
                    given_up.push(ticket);
                }
                wait.waiter.end_late();
            }
        }
        for behind in self.behind.extract_if(.., |behind| behind.until <= now) {
            Waiter::Reads(behind.replies).end_late();
        }
        given_up
    }

    /// Ends every wait.
    pub fn close(&mut self) {
        for (_, wait) in std::mem::take(&mut self.waits) {
            wait.waiter.end(RequestError::Unknown("the order is closing".into()));
        }
        for behind in std::mem::take(&mut self.behind) {
            Waiter::Reads(behind.replies).end(Refused::Closed.into());
        }
        self.entries.clear();
    }
}

impl Waiter {
    /// Whoever has gone does not wait any more.
    pub fn end(self, error: RequestError) {
        match self {
            Waiter::Proposal(caller) => drop(caller.send(Err(error))),
            Waiter::Ask(caller) => drop(caller.send(Err(error))),
            Waiter::Reads(callers) => {
                // A read that did not happen had no effect, whatever the reason.
                let error = match error {
                    RequestError::Unknown(why) => Refused::Unavailable(why).into(),
                    refused @ RequestError::Refused(_) => refused,
                };
                for caller in callers {
                    let _ = caller.send(Err(error.clone()));
                }
            }
        }
    }

    fn end_late(self) {
        let why = match &self {
            Waiter::Proposal(_) => "not committed in time",
            Waiter::Reads(_) => "no read barrier in time",
            Waiter::Ask(_) => "not done in time",
        };
        self.end(RequestError::Unknown(why.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(term: u64, index: u64) -> LogPos {
        LogPos { term, index }
    }

    fn propose(waiting: &mut Waiting) -> (Ticket, oneshot::Receiver<Result<Bytes, RequestError>>) {
        let (reply, answer) = oneshot::channel();
        (waiting.enter(Waiter::Proposal(reply), 0), answer)
    }

    /// What a proposal hears after each thing that can happen to its entry; nothing while it is open.
    #[test]
    fn a_proposal_is_answered_once_and_never_wrongly_refused() {
        type Happening = fn(&mut Waiting, Ticket);
        let unknown = |result: &Result<Bytes, RequestError>| matches!(result, Err(RequestError::Unknown(_)));
        let cases: [(&str, Happening); 6] = [
            ("cut", |waiting, _| waiting.truncated(2)),
            ("snapshot", |waiting, _| waiting.installed(2)),
            ("other term", |waiting, _| waiting.applied(at(9, 2), Bytes::new())),
            ("refused though appended", |waiting, ticket| {
                waiting.answer(ticket, Answer::Refused(Refused::Closed));
            }),
            ("late", |waiting, _| assert_eq!(waiting.expire(u64::MAX), [], "it is in the log")),
            ("closed", |waiting, _| waiting.close()),
        ];
        for (name, happens) in cases {
            let mut waiting = Waiting::default();
            let (ticket, mut answer) = propose(&mut waiting);
            waiting.appended(ticket, at(1, 2));
            waiting.truncated(3);
            waiting.installed(1);
            assert!(answer.try_recv().is_err(), "{name}: still open");
            happens(&mut waiting, ticket);
            assert!(unknown(&answer.try_recv().expect("answered")), "{name}");
            waiting.applied(at(1, 2), Bytes::new());
            assert_eq!(waiting.len(), 0, "{name}");
        }
    }

    #[test]
    fn the_reply_goes_to_whoever_proposed_that_very_entry() {
        let mut waiting = Waiting::default();
        let (first, mut first_answer) = propose(&mut waiting);
        let (second, mut second_answer) = propose(&mut waiting);
        waiting.appended(second, at(1, 1));
        waiting.applied(at(1, 1), Bytes::from_static(b"two"));
        assert_eq!(second_answer.try_recv(), Ok(Ok(Bytes::from_static(b"two"))));
        waiting.answer(first, Answer::Refused(Refused::Closed));
        assert_eq!(first_answer.try_recv(), Ok(Err(Refused::Closed.into())));
    }

    #[test]
    fn a_read_waits_until_its_index_is_applied_and_ends_refused() {
        let mut waiting = Waiting::default();
        let enter = |waiting: &mut Waiting| {
            let (reply, answer) = oneshot::channel();
            (waiting.enter(Waiter::Reads(vec![reply]), 0), answer)
        };
        let (ticket, mut early) = enter(&mut waiting);
        waiting.answer(ticket, Answer::Read(5));
        waiting.caught_up(at(1, 4));
        assert!(early.try_recv().is_err());
        waiting.caught_up(at(1, 6));
        assert_eq!(early.try_recv(), Ok(Ok(at(1, 6))));
        let (ticket, mut late) = enter(&mut waiting);
        waiting.answer(ticket, Answer::Read(9));
        assert_eq!(waiting.expire(u64::MAX), [], "the protocol has answered");
        assert!(matches!(late.try_recv(), Ok(Err(RequestError::Refused(Refused::Unavailable(_))))));
        let (ticket, _) = enter(&mut waiting);
        assert_eq!(waiting.expire(u64::MAX), [ticket], "the protocol has not");
    }
}
