//! One radiant as the client sees it: where it is, whether it answers, and the queue of calls to it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shardbearer_core::error::RequestError;
use shardbearer_core::kv::Reply;
use shardbearer_proto::pb;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use crate::stream::Talk;

/// Calls that may wait for one radiant; more wait with their callers.
const QUEUE_CALLS_MAX: usize = 4_096;

/// A silent connection is asked for a sign of life after this, and has as long again to give one.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// How long a radiant that could not be reached is left alone, at first and at most.
const DOWN_MIN: Duration = Duration::from_millis(100);
const DOWN_MAX: Duration = Duration::from_secs(2);

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// There is an answer.
    Answered(Result<Reply, RequestError>),
    /// It never left this process.
    NotSent(String),
    /// It left, and no answer came.
    Lost(String),
}

/// What to send, and what may travel with it.
pub(crate) struct Parcel {
    pub(crate) table: Arc<str>,
    pub(crate) call: pb::Call,
    /// About how many bytes the call has.
    pub(crate) weight: usize,
    /// Whether it waits for disks. Answers to one message come together, so reads and writes travel apart.
    pub(crate) is_write: bool,
    /// Whether to send it in a message of its own: those that it shared did not arrive.
    pub(crate) alone: bool,
}

/// One attempt on its way.
pub(crate) struct Attempt {
    pub(crate) parcel: Parcel,
    /// When the caller stops waiting.
    pub(crate) end: Instant,
    pub(crate) answer: oneshot::Sender<Outcome>,
}

/// The way to one radiant.
pub(crate) struct Link {
    pub(crate) address: String,
    pub(crate) channel: Channel,
    queue: mpsc::Sender<Attempt>,
    health: Arc<Mutex<Health>>,
    task: AbortHandle,
}

/// How often in a row the radiant was not there, and until when it is left alone.
#[derive(Default)]
pub(crate) struct Health {
    failures: u32,
    down_until: Option<Instant>,
}

impl Health {
    pub(crate) fn fail(&mut self) {
        let pause = DOWN_MIN.saturating_mul(1 << self.failures.min(10)).min(DOWN_MAX);
        self.failures = self.failures.saturating_add(1);
        self.down_until = Some(Instant::now() + pause);
    }
}

impl Link {
    /// Prepares the way; connects when it is first used. Must be called inside a tokio runtime.
    pub(crate) fn new(address: &str, connect_timeout: Duration) -> Result<Link, String> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| format!("{address:?} is not a host:port: {error}"))?
            .connect_timeout(connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20);
        let channel = endpoint.connect_lazy();
        let (queue, attempts) = mpsc::channel(QUEUE_CALLS_MAX);
        let health = Arc::new(Mutex::new(Health::default()));
        let talk = Talk::new(channel.clone(), connect_timeout, health.clone(), attempts);
        let task = tokio::spawn(talk.run()).abort_handle();
        Ok(Link { address: address.to_owned(), channel, queue, health, task })
    }

    /// Sends one call and waits for its answer, at most until `end`; `None` if none came by then.
    pub(crate) async fn call(&self, parcel: Parcel, end: Instant) -> Option<Outcome> {
        let (answer, answered) = oneshot::channel();
        let attempt = Attempt { parcel, end, answer };
        match tokio::time::timeout_at(end, self.queue.send(attempt)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Some(Outcome::NotSent("the client is closing".into())),
            Err(_) => return Some(Outcome::NotSent(format!("too many calls wait for {}", self.address))),
        }
        match tokio::time::timeout_at(end, answered).await {
            Ok(Ok(outcome)) => Some(outcome),
            Ok(Err(_)) => Some(Outcome::Lost("the client is closing".into())),
            Err(_) => None,
        }
    }

    /// Whether the radiant could not be reached a moment ago.
    pub(crate) fn is_down(&self) -> bool {
        self.health.lock().down_until.is_some_and(|until| Instant::now() < until)
    }

    /// Notes that the radiant did not answer.
    pub(crate) fn doubt(&self) {
        self.health.lock().fail();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}
