//! One item over all its attempts: what is tried again, when, and what the caller is told in the end.

use std::collections::BTreeSet;
use std::time::Duration;

use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{Epoch, ShardId};
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
    /// The shard that the order is asked for: not the item's where that is being split.
    pub(super) asked: ShardId,
    /// The shard within which it keeps its place among the others: where its keys will be, wherever it is asked for.
    pub(super) lane: ShardId,
    /// Whether an attempt may have been applied.
    perhaps: bool,
    /// Attempts that found the wrong order.
    pub(super) astray: u32,
    /// The configuration by which its shard was last looked for; none before the first attempt.
    pub(super) found: Option<Epoch>,
    /// It is a batch whose keys have come to be in two shards, one of which is asked since so many attempts were astray.
    straddles: Option<u32>,
    /// It concerns all of a shard that has been split since: its caller has to ask anew.
    pub(super) outdated: bool,
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
        let shard = journey.lane;
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
        Journey {
            asked: item.shard,
            lane: item.shard,
            item,
            perhaps: false,
            astray: 0,
            found: None,
            straddles: None,
            outdated: false,
            overtaken: false,
            result: None,
        }
    }

    /// The shard of the item is another, or there is none: its keys are in two, of which either remembers it if it was
    /// applied before.
    pub(super) fn relocate(&mut self, shards: &BTreeSet<ShardId>) {
        let Some(shard) = shards.first() else { return };
        if shards.len() > 1 && self.astray > *self.straddles.get_or_insert(self.astray) {
            let why = "the shard was split, and the keys of an atomic batch must be of one shard; give them the same \
                       {hash tag}";
            self.result = Some(Err(Refused::Invalid(why.into()).into()));
        }
        if !shards.contains(&self.item.shard) {
            self.item.shard = *shard;
        }
    }

    /// The item as the order is asked for it.
    pub(super) fn for_order(&self) -> Item {
        Item { shard: self.asked, ..self.item.clone() }
    }

    pub(super) fn is_over(&self) -> bool {
        match &self.result {
            _ if self.overtaken || self.outdated => true,
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
                Err(Refused::WrongOrder { epoch: Epoch::NONE }.into())
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
