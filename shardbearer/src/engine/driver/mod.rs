//! The one driver: turns any [`Protocol`] into a [`ConsensusEngine`].
//!
//! ```text
//!   propose · read · receive ──▶ mailbox ──▶ one task: step, step, ... ──▶ flush
//!                                              ▲                            │ one log write, messages, apply, answers
//!                                              └── tick · durable · image ◀─┘
//! ```
//!
//! - [`task`]: the loop, and what becomes of each input
//! - [`flush`]: carrying out what the steps asked for, in the order that the seam promises
//! - [`waiting`]: who waits for what, until when
//! - [`images`]: snapshots between members
//! - [`recover`]: what a protocol begins with
//! - [`frame`]: all of it as bytes
//!
//! Inputs that wait at the same time are stepped together and share one log write, so an fsync serves a crowd.
//! The mailbox is bounded: a proposal that finds it full is refused, a message is lost, which protocols expect.

mod flush;
pub(super) mod frame;
mod images;
mod recover;
mod task;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use shardbearer_core::engine::{
    Applied, ConsensusEngine, EngineContext, EngineError, EngineStatus, ReceivedSnapshot,
};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::RadiantId;
use shardbearer_core::log::LogPos;
use shardbearer_core::protocol::{Change, Configuration, Entry, Protocol};
use shardbearer_core::storage::StorageError;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::frame::{Frame, TAKEN};
use self::images::Receiving;
use self::waiting::Reply;
use crate::watch;

/// Inputs that may wait. Proposals are few, because orders gather them; messages are repeated when lost.
const MAIL_MAX: usize = 1_024;
/// Reads that may wait for the next barrier; they share it.
const READS_MAX: usize = 65_536;

/// Opens an order that runs protocol `P`. What a factory does.
pub async fn open<P: Protocol>(context: EngineContext) -> Result<Arc<dyn ConsensusEngine>, EngineError> {
    let order = context.order;
    let refuse = |why: String| EngineError { order, why };
    let durable = recover::durable(&context).await.map_err(refuse)?;
    let (mail, mailbox) = mpsc::channel(MAIL_MAX);
    let shared = Arc::new(Shared {
        mail,
        reads: Mutex::default(),
        reads_arrived: Notify::new(),
        status: watch::Sender::new(EngineStatus::default()),
        receiving: Receiving::default(),
        closing: CancellationToken::new(),
        tasks: TaskTracker::new(),
        context,
    });
    let task = task::Task::<P>::recover(shared.clone(), durable).map_err(refuse)?;
    shared.spawn("engine", task.run(mailbox));
    Ok(Arc::new(Driver(shared)))
}

/// What may happen to the task.
enum Mail<M> {
    Propose {
        proposal: Bytes,
        reply: Reply<Bytes>,
    },
    Ask {
        ask: Ask,
        reply: Reply<()>,
    },
    Campaign,
    Message {
        from: RadiantId,
        message: M,
        entries: Vec<Entry>,
    },
    /// An image to be installed.
    Image {
        from: RadiantId,
        image: ReceivedSnapshot,
        done: oneshot::Sender<()>,
    },
    /// A peer got its image, or did not.
    Sent {
        to: RadiantId,
        result: Result<(), String>,
    },
    /// The data are durable up to here.
    Persistent(Result<Applied, StorageError>),
}

enum Ask {
    Reconfigure(Change),
    HandOver(RadiantId),
}

/// What the handle and the order's tasks share.
struct Shared<M> {
    context: EngineContext,
    mail: mpsc::Sender<Mail<M>>,
    reads: Mutex<Vec<Reply<LogPos>>>,
    reads_arrived: Notify,
    status: watch::Sender<EngineStatus>,
    receiving: Receiving,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl<M: Send + 'static> Shared<M> {
    /// Starts a task that ends with the order.
    fn spawn(self: &Arc<Self>, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let closing = self.closing.clone();
        let task = async move { closing.run_until_cancelled(task).await.unwrap_or_default() };
        self.context.world.spawn(name, self.tasks.track_future(task));
    }

    /// Marks the order as closed; the first reason stands.
    fn closed(&self, failure: Option<String>) {
        self.status.send_modify(|status| {
            if !status.closed {
                status.failure = failure;
            }
            status.closed = true;
            status.leading = false;
            status.version += 1;
        });
    }

    /// Puts mail that somebody waits for; a full box is a refusal, so it never got in.
    fn post(&self, mail: Mail<M>) -> Result<(), RequestError> {
        self.mail.try_send(mail).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Refused::Busy(format!("order {} has too much to do", self.context.order)).into()
            }
            mpsc::error::TrySendError::Closed(_) => Refused::Closed.into(),
        })
    }

    async fn ask(&self, ask: Ask) -> Result<(), RequestError> {
        let (reply, answer) = oneshot::channel();
        self.post(Mail::Ask { ask, reply })?;
        answer.await.unwrap_or_else(|_| Err(closed_meanwhile()))
    }
}

fn closed_meanwhile() -> RequestError {
    RequestError::Unknown("the order closed meanwhile".into())
}

/// One order that runs a protocol.
struct Driver<M>(Arc<Shared<M>>);

#[async_trait]
impl<M: shardbearer_core::protocol::Message> ConsensusEngine for Driver<M> {
    async fn propose(&self, entry: Bytes) -> Result<Bytes, RequestError> {
        if entry.len() > self.0.context.limits.entry_bytes_max {
            let why = format!("{} bytes are more than a message between radiants may hold", entry.len());
            return Err(Refused::Invalid(why).into());
        }
        let (reply, answer) = oneshot::channel();
        self.0.post(Mail::Propose { proposal: entry, reply })?;
        answer.await.unwrap_or_else(|_| Err(closed_meanwhile()))
    }

    async fn read_barrier(&self) -> Result<LogPos, RequestError> {
        let (reply, answer) = oneshot::channel();
        {
            let mut reads = self.0.reads.lock();
            if reads.len() >= READS_MAX {
                return Err(Refused::Busy(format!("{READS_MAX} reads wait")).into());
            }
            // Looked at under the lock that the end of the task takes.
            if self.0.status.borrow().closed {
                return Err(Refused::Closed.into());
            }
            reads.push(reply);
        }
        self.0.reads_arrived.notify_one();
        // A read that did not happen had no effect.
        answer.await.unwrap_or_else(|_| Err(Refused::Closed.into()))
    }

    async fn receive(&self, from: RadiantId, frame: Bytes) -> Option<Bytes> {
        match frame::decode(frame)? {
            Frame::Message { message, entries } => {
                // What finds no room is lost, like any frame on its way.
                let _ = self.0.mail.try_send(Mail::Message { from, message, entries });
                Some(Bytes::new())
            }
            Frame::Chunk(chunk) => {
                if let Err(why) = images::take(&self.0, from, chunk).await {
                    tracing::debug!(order = %self.0.context.order, %from, why, "no snapshot");
                    return None;
                }
                Some(Bytes::from_static(TAKEN))
            }
        }
    }

    async fn reconfigure(&self, members: Vec<RadiantId>) -> Result<(), RequestError> {
        self.0.ask(Ask::Reconfigure(Change::Agree(members))).await
    }

    async fn configure(&self, configuration: Configuration) -> Result<(), RequestError> {
        self.0.ask(Ask::Reconfigure(Change::Decided(configuration))).await
    }

    async fn hand_over(&self, to: RadiantId) -> Result<(), RequestError> {
        self.0.ask(Ask::HandOver(to)).await
    }

    async fn campaign(&self) -> Result<(), RequestError> {
        self.0.post(Mail::Campaign)
    }

    fn status(&self) -> EngineStatus {
        self.0.status.borrow().clone()
    }

    async fn changed(&self, since: u64) -> EngineStatus {
        let mut status = self.0.status.subscribe();
        // The sender lives as long as the engine, so this ends only with a status.
        match status.wait_for(|status| status.version != since || status.closed).await {
            Ok(status) => status.clone(),
            Err(_) => self.status(),
        }
    }

    async fn close(&self) {
        self.0.closing.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        if !self.0.status.borrow().closed {
            self.0.closed(None);
        }
        self.0.reads.lock().clear();
    }
}
