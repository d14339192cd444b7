//! One item over all its attempts: what is tried again, when, and what the caller is told in the end.

use std::collections::BTreeSet;
use std::time::Duration;

use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::kv::{Item, Refusal, Reply};

use crate::kv::CallResult;

/// How long to wait for news of a herald before asking again.
pub(super) const NEWS_WAIT: Duration = Duration::from_millis(20);

/// How long a request waits whose shard is between two orders: they are about to agree.
const HELD_WAIT: Duration = Duration::from_millis(5);

/// After so many attempts it waits as all others do.
const HELD_ATTEMPTS: u32 = 40;

/// An item on its way.
pub(super) struct Journey {
    pub(super) item: Item,
    /// Whether an attempt may have been applied.
    perhaps: bool,
    /// Attempts that found the wrong order.
    pub(super) astray: u32,
    /// What came behind it on its shard is done, so that it is not tried again.
    overtaken: bool,
    pub(super) result: Option<CallResult>,
}

/// How long to wait before the next round.
pub(super) fn patience(journeys: &[Journey]) -> Duration {
    let held = |journey: &Journey| !journey.is_over() && (1..HELD_ATTEMPTS).contains(&journey.astray);
    if journeys.iter().any(held) { HELD_WAIT } else { NEWS_WAIT }
}

/// Ends what must not be tried again, because something behind it on its shard is done: it would now come after that.
/// Returns whether anything is to be tried again.
pub(super) fn keep_order(journeys: &mut [Journey]) -> bool {
    if let [alone] = journeys {
        return !alone.is_over();
    }
    let mut done = BTreeSet::new();
    let mut again = false;
    for journey in journeys.iter_mut().rev() {
        let shard = journey.item.shard;
        if !journey.is_over() && done.contains(&shard) {
            journey.overtaken = true;
        }
        if matches!(journey.result, Some(Ok(_) | Err(RequestError::Unknown(_)))) {
            done.insert(shard);
        }
        again |= !journey.is_over();
    }
    again
}

impl Journey {
    pub(super) fn new(item: Item) -> Journey {
        Journey { item, perhaps: false, astray: 0, overtaken: false, result: None }
    }

    pub(super) fn is_over(&self) -> bool {
        match &self.result {
            _ if self.overtaken => true,
            None => false,
            Some(Ok(_)) => true,
            Some(Err(error)) => !self.may_go_on(error),
        }
    }

    /// Whether another attempt makes sense and does no harm.
    fn may_go_on(&self, error: &RequestError) -> bool {
        match error {
            RequestError::Unknown(_) => self.item.id.is_some() || !self.item.command.is_write(),
            RequestError::Refused(_) => error.is_retryable(),
        }
    }

    /// Takes in an attempt's result.
    pub(super) fn advance(&mut self, result: CallResult) {
        let result = match result {
            // A reply in form, a wrong route in substance.
            Ok(Reply::Refused(Refusal::WrongOrder)) => {
                self.astray = self.astray.saturating_add(1);
                Err(Refused::WrongOrder { epoch: shardbearer_core::ids::Epoch::NONE }.into())
            }
            Ok(Reply::Refused(Refusal::SessionsFull)) => {
                Err(Refused::Busy("the shard remembers as many sessions as it may".into()).into())
            }
            other => other,
        };
        if matches!(result, Err(RequestError::Unknown(_))) && self.item.command.is_write() {
            self.perhaps = true;
            if let Some(id) = &mut self.item.id {
                id.retry = true;
            }
        }
        self.result = Some(result);
    }

    /// The final result: a refusal after an attempt that may have been applied is no refusal.
    pub(super) fn arrive(self) -> CallResult {
        match self.result {
            Some(Ok(Reply::Refused(Refusal::SessionExpired))) => {
                Err(RequestError::Unknown("whether it was applied is no longer remembered".into()))
            }
            Some(Ok(reply)) => Ok(reply),
            Some(Err(RequestError::Refused(refused))) if self.perhaps => {
                Err(RequestError::Unknown(format!("an attempt may have been applied; since then: {refused}")))
            }
            Some(Err(error)) => Err(error),
            None => Err(Refused::Unavailable("no time was left to try".into()).into()),
        }
    }
}
