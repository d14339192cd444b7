//! One radiant as the client sees it: one connection with one stream, and many calls in flight on it.
//!
//! ```text
//!   call ─┐                ┌─ message (tag 7: 3 calls) ─▶
//!   call ─┼─ bounded queue ┤                              radiant
//!   call ─┘                └◀─ message (tag 5: 9 results)
//! ```
//!
//! Calls that wait travel together in one message: a message costs about as much as everything else about a small
//! call. The stream is opened when it is first needed and again after it broke; what was in flight then is
//! [`Outcome::Lost`], what had not been sent stays in line. Nothing is ever repeated here.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shardbearer_core::error::RequestError;
use shardbearer_core::kv::Reply;
use shardbearer_proto::convert::result_from_wire;
use shardbearer_proto::pb;
use shardbearer_proto::pb::kv_client::KvClient;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// Calls that may wait for one radiant; more wait with their callers.
const QUEUE_CALLS_MAX: usize = 4_096;

/// Calls in one message: bounds how much one slow call can hold back.
const MESSAGE_CALLS_MAX: usize = 512;

/// Bytes of calls in one message, unless one call alone has more.
const MESSAGE_CALL_BYTES_MAX: usize = 1 << 20;

/// Messages that HTTP/2 may hold back before calls wait in line.
const MESSAGES_UNSENT_MAX: usize = 16;

/// Longest message that is taken in. Replies to calls that were sent together come together, and values can be large.
const RESPONSE_BYTES_MAX: usize = 1 << 30;

/// From when on the calls in flight are searched for callers that have gone away.
const SWEEP_FROM: usize = 1_024;

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

/// One attempt on its way.
pub(crate) struct Attempt {
    pub(crate) table: Arc<str>,
    pub(crate) call: pb::Call,
    /// About how many bytes the call has.
    pub(crate) weight: usize,
    /// Whether to send it in a message of its own: the one that it shared did not arrive.
    pub(crate) alone: bool,
    /// When the caller stops waiting.
    pub(crate) end: Instant,
    answer: oneshot::Sender<Outcome>,
}

/// The way to one radiant.
pub(crate) struct Link {
    pub(crate) address: String,
    pub(crate) channel: Channel,
    queue: mpsc::Sender<Attempt>,
    health: Arc<Mutex<Health>>,
    task: AbortHandle,
}

#[derive(Default)]
struct Health {
    failures: u32,
    down_until: Option<Instant>,
}

impl Health {
    fn fail(&mut self) {
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
        let talk = Talk {
            client: KvClient::new(channel.clone()).max_decoding_message_size(RESPONSE_BYTES_MAX),
            open_timeout: connect_timeout,
            health: health.clone(),
            attempts,
            waiting: VecDeque::new(),
            last_tag: 0,
        };
        let task = tokio::spawn(talk.run()).abort_handle();
        Ok(Link { address: address.to_owned(), channel, queue, health, task })
    }

    /// Sends one call and waits for its answer, at most until `end`; `None` if none came by then.
    pub(crate) async fn call(
        &self,
        table: Arc<str>,
        call: pb::Call,
        weight: usize,
        alone: bool,
        end: Instant,
    ) -> Option<Outcome> {
        let (answer, answered) = oneshot::channel();
        let attempt = Attempt { table, call, weight, alone, end, answer };
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

/// The task behind a link.
struct Talk {
    client: KvClient<Channel>,
    open_timeout: Duration,
    health: Arc<Mutex<Health>>,
    attempts: mpsc::Receiver<Attempt>,
    /// Taken from the queue and not yet sent.
    waiting: VecDeque<Attempt>,
    last_tag: u64,
}

type InFlight = HashMap<u64, Vec<oneshot::Sender<Outcome>>>;

impl Talk {
    async fn run(mut self) {
        loop {
            self.waiting.retain(|attempt| !attempt.answer.is_closed());
            if self.waiting.is_empty() {
                match self.attempts.recv().await {
                    Some(attempt) => self.waiting.push_back(attempt),
                    None => return,
                }
            }
            match self.open().await {
                Ok((out, inbound)) => {
                    *self.health.lock() = Health::default();
                    self.converse(out, inbound).await;
                }
                Err(why) => {
                    self.health.lock().fail();
                    while let Ok(attempt) = self.attempts.try_recv() {
                        self.waiting.push_back(attempt);
                    }
                    for attempt in self.waiting.drain(..) {
                        answer(attempt.answer, Outcome::NotSent(why.clone()));
                    }
                }
            }
        }
    }

    async fn open(
        &mut self,
    ) -> Result<(mpsc::Sender<pb::ExecuteRequest>, Streaming<pb::ExecuteResponse>), String> {
        let (out, requests) = mpsc::channel(MESSAGES_UNSENT_MAX);
        let opening = self.client.stream(ReceiverStream::new(requests));
        match tokio::time::timeout(self.open_timeout, opening).await {
            Ok(Ok(response)) => Ok((out, response.into_inner())),
            Ok(Err(status)) => Err(in_words(&status)),
            Err(_) => Err("no connection in time".into()),
        }
    }

    /// Sends and receives until the stream breaks.
    async fn converse(
        &mut self,
        out: mpsc::Sender<pb::ExecuteRequest>,
        mut inbound: Streaming<pb::ExecuteResponse>,
    ) {
        let mut in_flight = InFlight::new();
        let mut sweep_at = SWEEP_FROM;
        let mut taken = Vec::new();
        let why = loop {
            tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(response)) => complete(&mut in_flight, response),
                    Ok(None) => break "the radiant closed the stream".to_owned(),
                    Err(status) => break in_words(&status),
                },
                count = self.attempts.recv_many(&mut taken, MESSAGE_CALLS_MAX), if self.waiting.is_empty() => {
                    if count == 0 {
                        break "the client is closing".to_owned();
                    }
                    // Callers that were woken together get to line up before the message leaves.
                    tokio::task::yield_now().await;
                    self.waiting.extend(taken.drain(..));
                    while self.waiting.len() < MESSAGE_CALLS_MAX && let Ok(more) = self.attempts.try_recv() {
                        self.waiting.push_back(more);
                    }
                }
                permit = out.reserve(), if !self.waiting.is_empty() => {
                    let Ok(permit) = permit else { break "the stream is closed".to_owned() };
                    if let Some((request, answers)) = self.next_message() {
                        in_flight.insert(request.tag, answers);
                        permit.send(request);
                    }
                    if in_flight.len() >= sweep_at {
                        in_flight.retain(|_, answers| answers.iter().any(|answer| !answer.is_closed()));
                        sweep_at = SWEEP_FROM.max(2 * in_flight.len());
                    }
                }
            }
        };
        for sender in in_flight.into_values().flatten() {
            answer(sender, Outcome::Lost(why.clone()));
        }
    }

    /// As many of the waiting calls as may travel together; `None` if all callers have gone away.
    fn next_message(&mut self) -> Option<(pb::ExecuteRequest, Vec<oneshot::Sender<Outcome>>)> {
        self.waiting.retain(|attempt| !attempt.answer.is_closed());
        let first = self.waiting.front()?;
        let (table, alone) = (first.table.clone(), first.alone);
        let (mut calls, mut answers, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut end = Instant::now();
        while let Some(next) = self.waiting.front() {
            let fits = !alone
                && !next.alone
                && next.table == table
                && bytes + next.weight <= MESSAGE_CALL_BYTES_MAX
                && calls.len() < MESSAGE_CALLS_MAX;
            if !fits && !calls.is_empty() {
                break;
            }
            let Some(attempt) = self.waiting.pop_front() else { break };
            bytes += attempt.weight;
            end = end.max(attempt.end);
            calls.push(attempt.call);
            answers.push(attempt.answer);
        }
        self.last_tag += 1;
        let left_ms = end.saturating_duration_since(Instant::now()).as_millis();
        let deadline_ms = u32::try_from(left_ms).unwrap_or(u32::MAX).max(1);
        let request = pb::ExecuteRequest { tag: self.last_tag, table: table.to_string(), deadline_ms, calls };
        Some((request, answers))
    }
}

/// Hands the results to their callers. A tag that nobody waits for is an answer that came twice.
fn complete(in_flight: &mut InFlight, response: pb::ExecuteResponse) {
    let Some(answers) = in_flight.remove(&response.tag) else { return };
    let mut results = response.results.into_iter();
    for sender in answers {
        let outcome = match results.next().map(result_from_wire) {
            Some(Ok(result)) => Outcome::Answered(result),
            Some(Err(error)) => Outcome::Lost(format!("the answer makes no sense: {error}")),
            None => Outcome::Lost("the answer has no result for this call".into()),
        };
        answer(sender, outcome);
    }
}

/// A caller that has gone away no longer cares.
fn answer(sender: oneshot::Sender<Outcome>, outcome: Outcome) {
    let _ = sender.send(outcome);
}

fn in_words(status: &tonic::Status) -> String {
    let mut words = status.message().to_owned();
    if words.is_empty() {
        words = status.code().description().to_owned();
    }
    words
}
