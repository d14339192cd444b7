//! The task behind a [`crate::link::Link`]: one stream with many calls in flight.
//!
//! ```text
//!   call ─┐                ┌─ message (tag 7: 3 calls) ─▶
//!   call ─┼─ bounded queue ┤                              radiant
//!   call ─┘                └◀─ message (tag 5: 9 results)
//! ```
//!
//! Calls that wait travel together in one message: a message costs about as much as everything else about a small
//! call. Reads and writes travel apart, for answers to one message come together and reads should not wait for disks.
//! The stream is opened when it is first needed and again after it broke; what was in flight then is
//! [`Outcome::Lost`], what had not been sent stays in line. Nothing is ever repeated here.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shardbearer_proto::convert::result_from_wire;
use shardbearer_proto::pb;
use shardbearer_proto::pb::kv_client::KvClient;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::link::{Attempt, Health, Outcome};

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

/// The task behind a link.
pub(crate) struct Talk {
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
    /// For the attempts that come out of this queue.
    pub(crate) fn new(
        channel: Channel,
        open_timeout: Duration,
        health: Arc<Mutex<Health>>,
        attempts: mpsc::Receiver<Attempt>,
    ) -> Talk {
        let client = KvClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
        Talk { client, open_timeout, health, attempts, waiting: VecDeque::new(), last_tag: 0 }
    }

    pub(crate) async fn run(mut self) {
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
        let first = &self.waiting.front()?.parcel;
        let (table, is_write, alone) = (first.table.clone(), first.is_write, first.alone);
        let (mut calls, mut answers, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut end = Instant::now();
        for attempt in std::mem::take(&mut self.waiting) {
            let next = &attempt.parcel;
            let fits = !alone
                && !next.alone
                && next.is_write == is_write
                && next.table == table
                && bytes + next.weight <= MESSAGE_CALL_BYTES_MAX
                && calls.len() < MESSAGE_CALLS_MAX;
            if fits || calls.is_empty() {
                bytes += next.weight;
                end = end.max(attempt.end);
                calls.push(attempt.parcel.call);
                answers.push(attempt.answer);
            } else {
                self.waiting.push_back(attempt);
            }
        }
        self.last_tag += 1;
        let deadline_ms = deadline_ms(end.saturating_duration_since(Instant::now()));
        let request = pb::ExecuteRequest { tag: self.last_tag, table: table.to_string(), deadline_ms, calls };
        Some((request, answers))
    }
}

/// At most so much of the time that callers wait is kept for the answer's way.
pub(crate) const MARGIN_MAX: Duration = Duration::from_millis(500);

/// How long the radiant is given of the time that the callers wait: a little less, so that what it can say in the end,
/// such as that nothing was done, arrives before they stop waiting and know nothing.
fn deadline_ms(left: Duration) -> u32 {
    let given = left - (left / 4).min(MARGIN_MAX);
    u32::try_from(given.as_millis()).unwrap_or(u32::MAX).max(1)
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
