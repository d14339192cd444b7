//! What to do with the outcome of an attempt. Pure: the caller sends, waits and asks here what is next.

use std::time::Duration;

use rand::Rng;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{ClusterId, OrderId, RadiantId};
use shardbearer_core::kv::{Refusal, Reply};

use crate::error::Error;
use crate::link::Outcome;

/// First wait between two attempts.
const WAIT_MIN: Duration = Duration::from_millis(5);

/// Longest wait between two attempts; about the time an order takes to elect.
const WAIT_MAX: Duration = Duration::from_millis(400);

/// What comes after an attempt.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// It is over.
    Done(Result<Reply, Error>),
    /// Another attempt.
    Again(Again),
}

/// How to go about another attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Again {
    /// The map may be old: ask for a new one.
    pub(crate) refresh: bool,
    /// An order's herald, as whoever refused said it.
    pub(crate) lead: Option<(OrderId, RadiantId)>,
    /// The radiant asked is not to be asked next time, if there is another.
    pub(crate) elsewhere: bool,
    /// The shard no longer knows the session. Nothing was applied, so the call may take a new number.
    pub(crate) renew: bool,
    /// Nothing has to pass first: a better place to ask is known.
    pub(crate) at_once: bool,
}

/// One call over all its attempts.
#[derive(Debug)]
pub(crate) struct Journey {
    is_write: bool,
    has_id: bool,
    attempts: u32,
    /// Whether an attempt may have been applied, or may still be.
    perhaps: bool,
    /// The cluster that was asked when the first attempt was made that may have been applied.
    asked: Option<ClusterId>,
    last: Option<RequestError>,
}

impl Journey {
    /// A call. A write without an id is not repeated once it may have happened.
    pub(crate) fn new(is_write: bool, has_id: bool) -> Journey {
        Journey { is_write, has_id, attempts: 0, perhaps: false, asked: None, last: None }
    }

    /// Notes that an attempt begins. Returns whether it is a repetition.
    pub(crate) fn begin(&mut self) -> bool {
        self.attempts = self.attempts.saturating_add(1);
        self.attempts > 1
    }

    /// The cluster that may have done it already, if one may. `now` is whom the next attempt goes to.
    pub(crate) fn cluster_asked(&mut self, now: ClusterId) -> Option<ClusterId> {
        if !self.perhaps {
            self.asked = Some(now).filter(|now| !now.is_none());
        }
        self.asked.filter(|_| self.perhaps)
    }

    /// Whether the next attempt should share no message with others: attempts were lost twice, and an answer that
    /// is too long together with others would be a reason.
    pub(crate) fn alone(&self) -> bool {
        self.attempts > 1 && matches!(self.last, Some(RequestError::Unknown(_)))
    }

    /// Notes that the call has taken a new number and begins anew.
    pub(crate) fn renewed(&mut self) {
        self.attempts = 0;
    }

    /// What comes after an attempt.
    pub(crate) fn judge(&mut self, outcome: Outcome) -> Next {
        let again = match &outcome {
            Outcome::Answered(Ok(Reply::Refused(refusal))) => match refusal {
                Refusal::WrongOrder => Again { refresh: true, ..Again::default() },
                Refusal::SessionExpired if self.perhaps => {
                    let why = "the shard no longer remembers whether an earlier attempt was applied";
                    return Next::Done(Err(Error::Unknown(why.into())));
                }
                // Every attempt so far was refused; only the mark of a repetition made the shard say so.
                Refusal::SessionExpired => Again { renew: true, ..Again::default() },
                Refusal::SessionsFull => Again::default(),
                Refusal::NotAnInteger
                | Refusal::NotANumber
                | Refusal::Overflow
                | Refusal::TooLarge { .. }
                | Refusal::Malformed(_) => return Next::Done(Err(Error::Rejected(refusal.clone()))),
            },
            Outcome::Answered(Ok(reply)) => return Next::Done(Ok(reply.clone())),
            Outcome::Answered(Err(RequestError::Refused(refused))) => match refused {
                Refused::NotHerald { order, hint } => Again {
                    refresh: hint.is_none(),
                    lead: hint.map(|hint| (*order, hint)),
                    elsewhere: true,
                    at_once: hint.is_some() && self.attempts <= 2,
                    ..Again::default()
                },
                Refused::WrongOrder { .. } => Again { refresh: true, ..Again::default() },
                Refused::Busy(_) => Again::default(),
                Refused::Unavailable(_) | Refused::Closed => {
                    Again { refresh: true, elsewhere: true, ..Again::default() }
                }
                Refused::DiskFull(_) | Refused::Invalid(_) => return Next::Done(Err(self.refusal(refused))),
            },
            Outcome::Answered(Err(RequestError::Unknown(_))) => Again { refresh: true, ..Again::default() },
            Outcome::NotSent(_) | Outcome::Lost(_) => {
                Again { refresh: true, elsewhere: true, at_once: self.attempts <= 1, ..Again::default() }
            }
        };
        self.last = Some(match outcome {
            Outcome::Answered(Ok(_)) => {
                Refused::Unavailable("the shard's order could not be settled".into()).into()
            }
            Outcome::Answered(Err(error)) => error,
            Outcome::NotSent(why) => Refused::Unavailable(why).into(),
            Outcome::Lost(why) => RequestError::Unknown(why),
        });
        if let Some(RequestError::Unknown(why)) = &self.last
            && self.is_write
        {
            self.perhaps = true;
            if !self.has_id {
                return Next::Done(Err(Error::Unknown(why.clone())));
            }
        }
        Next::Again(again)
    }

    /// How long to wait before the next attempt: doubling, with jitter so that many callers do not come back at once.
    pub(crate) fn wait(&self) -> Duration {
        let most = WAIT_MIN.saturating_mul(1 << self.attempts.min(10)).min(WAIT_MAX);
        rand::rng().random_range(most / 2..=most)
    }

    /// Notes that the time given to an attempt has passed without an answer.
    pub(crate) fn timed_out(&mut self) -> Next {
        self.judge(Outcome::Lost("no answer in time".into()))
    }

    /// The error when there is no time for another attempt.
    pub(crate) fn give_up(self) -> Error {
        match &self.last {
            None => Error::Refused(Refused::Busy("no time was left to send the request".into())),
            Some(RequestError::Refused(refused)) => self.refusal(refused),
            Some(RequestError::Unknown(why)) if self.is_write => Error::Unknown(why.clone()),
            // A read leaves nothing behind.
            Some(RequestError::Unknown(why)) => Error::Refused(Refused::Unavailable(why.clone())),
        }
    }

    /// A refusal is only one if no earlier attempt may have been applied.
    fn refusal(&self, refused: &Refused) -> Error {
        if self.perhaps {
            Error::Unknown(format!("an attempt may have been applied; since then: {refused}"))
        } else {
            Error::Refused(refused.clone())
        }
    }
}

#[cfg(test)]
mod tests;
