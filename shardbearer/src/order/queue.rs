//! Group commit: everything that waits becomes one proposal.
//!
//! While a proposal is on its way, what arrives gathers; when it returns, all that gathered goes out as the next. So a
//! lone client waits for nobody, and a crowd shares entries, messages and fsyncs. No timer is involved.
//!
//! A submission is never split over two proposals: its items share one fate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use shardbearer_core::engine::ConsensusEngine;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::OrderId;
use shardbearer_core::kv::{Entry, Item, Reply};
use shardbearer_core::limits;
use shardbearer_core::world::World;
use shardbearer_proto::convert;
use tokio::sync::{Notify, oneshot};

use crate::kv::CallResult;

/// How long a proposal is waited for. An engine that never answers would otherwise end the order's writes for good. Nobody
/// waits for the answer any longer: every submission of it was there when it went out, with a deadline of at most this.
const PROPOSAL_WAIT: Duration = Duration::from_millis(limits::REQUEST_MS_MAX);

struct Submission {
    items: Vec<Item>,
    bytes: usize,
    reply: oneshot::Sender<Result<Vec<CallResult>, RequestError>>,
}

#[derive(Default)]
struct Waiting {
    /// By number, in order of arrival.
    submissions: BTreeMap<u64, Submission>,
    last: u64,
    items: usize,
    bytes: usize,
}

impl Waiting {
    fn remove(&mut self, number: u64) -> Option<Submission> {
        let submission = self.submissions.remove(&number)?;
        self.items -= submission.items.len();
        self.bytes -= submission.bytes;
        Some(submission)
    }
}

/// The submissions that wait for an order.
pub struct Queue {
    order: OrderId,
    waiting: Mutex<Waiting>,
    arrived: Notify,
    closed: AtomicBool,
}

impl Queue {
    /// Starts the one task that proposes; it ends at [`Queue::close`].
    pub fn start(order: OrderId, engine: Arc<dyn ConsensusEngine>, world: World) -> Arc<Queue> {
        let queue = Arc::new(Queue {
            order,
            waiting: Mutex::default(),
            arrived: Notify::new(),
            closed: AtomicBool::new(false),
        });
        world.clone().spawn("order-proposer", propose_all(queue.clone(), engine, world));
        queue
    }

    /// Proposes the items with whatever else waits; one result per item. Whoever drops this leaves the queue.
    pub async fn submit(
        &self,
        items: Vec<Item>,
        deadline: Duration,
    ) -> Result<Vec<CallResult>, RequestError> {
        let (reply, answer) = oneshot::channel();
        let place = self.enter(items, reply)?;
        self.arrived.notify_one();
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(RequestError::Unknown(format!("order {} closed meanwhile", self.order))),
            // Whether it was taken from the queue decides whether a late request was refused or is unknown.
            Err(_) if place.leave() => {
                Err(Refused::Busy(format!("order {} did not get to it in time", self.order)).into())
            }
            Err(_) => Err(RequestError::Unknown("not committed within the deadline".into())),
        }
    }

    fn enter(
        &self,
        items: Vec<Item>,
        reply: oneshot::Sender<Result<Vec<CallResult>, RequestError>>,
    ) -> Result<Place<'_>, RequestError> {
        let bytes: usize = items.iter().map(|item| item.command.weight()).sum();
        let mut waiting = self.waiting.lock();
        // Checked under the lock that `close` takes, so that nothing enters an emptied queue.
        if self.closed.load(Ordering::Acquire) {
            return Err(Refused::Closed.into());
        }
        if waiting.items + items.len() > limits::ORDER_QUEUE_ITEMS_MAX
            || waiting.bytes + bytes > limits::ORDER_QUEUE_BYTES_MAX
        {
            let why = format!("{} writes wait for order {}", waiting.items, self.order);
            return Err(Refused::Busy(why).into());
        }
        waiting.items += items.len();
        waiting.bytes += bytes;
        waiting.last += 1;
        let number = waiting.last;
        waiting.submissions.insert(number, Submission { items, bytes, reply });
        Ok(Place { queue: self, number })
    }

    /// What goes into the next proposal: whole submissions in order of arrival, up to the limits.
    fn take(&self) -> Vec<Submission> {
        let mut waiting = self.waiting.lock();
        let (mut taken, mut items, mut bytes) = (Vec::new(), 0, 0);
        while let Some((number, first)) = waiting.submissions.first_key_value() {
            items += first.items.len();
            bytes += first.bytes;
            let full = items > limits::PROPOSAL_ITEMS_MAX || bytes > limits::PROPOSAL_BYTES_MAX;
            if full && !taken.is_empty() {
                break;
            }
            let number = *number;
            taken.extend(waiting.remove(number));
        }
        taken
    }

    /// Refuses what comes and what waits.
    pub fn close(&self) {
        let waiting = {
            let mut waiting = self.waiting.lock();
            self.closed.store(true, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        for submission in waiting.submissions.into_values() {
            let _ = submission.reply.send(Err(Refused::Closed.into()));
        }
        self.arrived.notify_one();
    }
}

/// A submission's place in the queue, for as long as somebody waits for it.
struct Place<'a> {
    queue: &'a Queue,
    number: u64,
}

impl Place<'_> {
    /// Gives it up; whether it was still there.
    fn leave(&self) -> bool {
        self.queue.waiting.lock().remove(self.number).is_some()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The proposing task. One proposal at a time: a second one beside it would make both smaller.
async fn propose_all(queue: Arc<Queue>, engine: Arc<dyn ConsensusEngine>, world: World) {
    while !queue.closed.load(Ordering::Acquire) {
        let submissions = queue.take();
        if submissions.is_empty() {
            queue.arrived.notified().await;
        } else {
            propose(engine.as_ref(), submissions, world.wall_ms()).await;
        }
    }
}

/// One proposal, from encoding to the answers.
async fn propose(engine: &dyn ConsensusEngine, submissions: Vec<Submission>, time_ms: u64) {
    let mut counts = Vec::with_capacity(submissions.len());
    let mut callers = Vec::with_capacity(submissions.len());
    let mut items = Vec::new();
    for submission in submissions {
        counts.push(submission.items.len());
        callers.push(submission.reply);
        items.extend(submission.items);
    }
    let expected = items.len();
    let entry = convert::entry_to_bytes(&Entry { time_ms, items });
    let result = match tokio::time::timeout(PROPOSAL_WAIT, engine.propose(entry)).await {
        Ok(result) => result.and_then(|bytes| decode(bytes, expected)),
        Err(_) => Err(RequestError::Unknown("the engine never said what became of it".into())),
    };
    match result {
        Ok(replies) => {
            let mut replies = replies.into_iter();
            for (count, caller) in counts.into_iter().zip(callers) {
                let _ = caller.send(Ok(replies.by_ref().take(count).map(Ok).collect()));
            }
        }
        Err(error) => {
            for caller in callers {
                let _ = caller.send(Err(error.clone()));
            }
        }
    }
}

/// The replies of an applied entry. What makes no sense here was applied all the same.
fn decode(bytes: bytes::Bytes, expected: usize) -> Result<Vec<Reply>, RequestError> {
    match convert::replies_from_bytes(bytes) {
        Ok(replies) if replies.len() == expected => Ok(replies),
        Ok(replies) => Err(RequestError::Unknown(format!("{} replies to {expected} items", replies.len()))),
        Err(error) => Err(RequestError::Unknown(format!("unreadable replies: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;
    use shardbearer_core::ids::ShardId;
    use shardbearer_core::kv::Command;

    use super::*;
    use crate::engine::stub::{Manner, Stub};
    use crate::world::Real;

    /// Never says what becomes of its first proposal.
    #[derive(Default)]
    struct Forgetful {
        proposals: Mutex<Vec<Bytes>>,
    }

    #[async_trait]
    impl Manner for Forgetful {
        async fn propose(&self, entry: Bytes) -> Result<Bytes, RequestError> {
            let before = {
                let mut proposals = self.proposals.lock();
                proposals.push(entry.clone());
                proposals.len() - 1
            };
            if before == 0 {
                std::future::pending::<()>().await;
            }
            let entry = convert::entry_from_bytes(entry).expect("ours");
            Ok(convert::replies_to_bytes(&vec![Reply::Touched { changed: false }; entry.items.len()]))
        }
    }

    fn items(count: usize) -> Vec<Item> {
        vec![Item::of(ShardId(1), Command::Clear); count]
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_proposal_that_is_never_answered_is_unknown_and_others_go_on() {
        let engine = Arc::new(Stub(Forgetful::default()));
        let queue = Queue::start(OrderId(2), engine.clone(), Real::create().0);
        let lost = queue.submit(items(1), SECOND).await;
        assert!(matches!(lost, Err(RequestError::Unknown(_))), "{lost:?}");
        // It is not proposed while the first is, and then it is.
        let refused = queue.submit(items(2), SECOND).await;
        assert!(matches!(refused, Err(RequestError::Refused(Refused::Busy(_)))), "{refused:?}");
        let next = queue.submit(items(3), PROPOSAL_WAIT).await.expect("answered");
        assert_eq!((next.len(), engine.0.proposals.lock().len()), (3, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_room_for_others() {
        let queue = Queue::start(OrderId(2), Arc::new(Stub(Forgetful::default())), Real::create().0);
        let first = queue.submit(items(1), SECOND).await;
        assert!(matches!(first, Err(RequestError::Unknown(_))), "{first:?}");
        let all = limits::ORDER_QUEUE_ITEMS_MAX;
        let late = queue.submit(items(all), SECOND).await;
        let gone = tokio::time::timeout(SECOND, queue.submit(items(all), 2 * SECOND)).await;
        assert!(late.is_err() && gone.is_err());
        let waiting = queue.waiting.lock();
        assert_eq!((waiting.items, waiting.bytes, waiting.submissions.len()), (0, 0, 0));
    }
}
