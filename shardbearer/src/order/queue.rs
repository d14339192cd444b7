//! Group commit: everything that waits becomes one proposal.
//!
//! While a proposal is on its way, what arrives gathers; when it returns, all that gathered goes out as the next. So a
//! lone client waits for nobody, and a crowd shares entries, messages and fsyncs. No timer is involved.
//!
//! A submission is never split over two proposals: its items share one fate.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
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

const WAITING: u8 = 0;
const PROPOSED: u8 = 1;
const GIVEN_UP: u8 = 2;

struct Submission {
    items: Vec<Item>,
    /// [`WAITING`] until either side moves it: the proposer to [`PROPOSED`], the caller to [`GIVEN_UP`].
    /// Whoever is first decides whether a late request was refused or is unknown.
    stage: Arc<AtomicU8>,
    reply: oneshot::Sender<Result<Vec<CallResult>, RequestError>>,
}

#[derive(Default)]
struct Waiting {
    submissions: VecDeque<Submission>,
    items: usize,
    bytes: usize,
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

    /// Proposes the items with whatever else waits; one result per item.
    pub async fn submit(
        &self,
        items: Vec<Item>,
        deadline: Duration,
    ) -> Result<Vec<CallResult>, RequestError> {
        let stage = Arc::new(AtomicU8::new(WAITING));
        let (reply, answer) = oneshot::channel();
        self.enter(Submission { items, stage: stage.clone(), reply })?;
        self.arrived.notify_one();
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(RequestError::Unknown(format!("order {} closed meanwhile", self.order))),
            Err(_) => {
                let waited = stage.compare_exchange(WAITING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire);
                Err(match waited {
                    Ok(_) => Refused::Busy(format!("order {} did not get to it in time", self.order)).into(),
                    Err(_) => RequestError::Unknown("not committed within the deadline".into()),
                })
            }
        }
    }

    fn enter(&self, submission: Submission) -> Result<(), RequestError> {
        let bytes: usize = submission.items.iter().map(|item| item.command.weight()).sum();
        let mut waiting = self.waiting.lock();
        // Checked under the lock that `close` takes, so that nothing enters an emptied queue.
        if self.closed.load(Ordering::Acquire) {
            return Err(Refused::Closed.into());
        }
        if waiting.items + submission.items.len() > limits::ORDER_QUEUE_ITEMS_MAX
            || waiting.bytes + bytes > limits::ORDER_QUEUE_BYTES_MAX
        {
            let why = format!("{} writes wait for order {}", waiting.items, self.order);
            return Err(Refused::Busy(why).into());
        }
        waiting.items += submission.items.len();
        waiting.bytes += bytes;
        waiting.submissions.push_back(submission);
        Ok(())
    }

    /// What goes into the next proposal: whole submissions in order of arrival, up to the limits.
    fn take(&self) -> Vec<Submission> {
        let mut waiting = self.waiting.lock();
        let (mut taken, mut items, mut bytes) = (Vec::new(), 0, 0);
        while let Some(first) = waiting.submissions.front() {
            let weight: usize = first.items.iter().map(|item| item.command.weight()).sum();
            let full = items + first.items.len() > limits::PROPOSAL_ITEMS_MAX
                || bytes + weight > limits::PROPOSAL_BYTES_MAX;
            if full && !taken.is_empty() {
                break;
            }
            let Some(first) = waiting.submissions.pop_front() else { break };
            waiting.items -= first.items.len();
            waiting.bytes -= weight;
            if first.stage.compare_exchange(WAITING, PROPOSED, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                items += first.items.len();
                bytes += weight;
                taken.push(first);
            }
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
        for submission in waiting.submissions {
            let _ = submission.reply.send(Err(Refused::Closed.into()));
        }
        self.arrived.notify_one();
    }
}

/// The proposing task. One proposal at a time: a second one beside it would make both smaller.
async fn propose_all(queue: Arc<Queue>, engine: Arc<dyn ConsensusEngine>, world: World) {
    while !queue.closed.load(Ordering::Acquire) {
        let submissions = queue.take();
        if submissions.is_empty() {
            queue.arrived.notified().await;
        } else {
            // Ends in any case: closing the engine ends what is on its way.
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
    let result = engine.propose(entry).await.and_then(|bytes| decode(bytes, expected));
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
