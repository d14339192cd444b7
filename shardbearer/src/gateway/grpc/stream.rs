//! `Kv.Stream`: many requests in flight over one stream, answered in any order.
//!
//! ```text
//! incoming --understand--> coalesce --> running (door) --> ready --> outgoing
//!     ^                                                                  |
//!     '------------- not read while too much is in flight <--------------'
//! ```
//!
//! All of it is one `Stream` that the connection polls: no task, no channel and no wakeup of its own per
//! request. What arrived together is carried out together; what is ready together leaves in one frame. A client
//! that does not read its answers stops being read itself.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use shardbearer_core::limits;
use shardbearer_proto::pb;
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

use super::coalesce::{Group, coalesce};
use super::translate::{Asked, understand};
use crate::kv::Door;
use crate::telemetry::meter::Meter;

/// Requests of one stream that are being worked on or wait to be sent.
pub(super) const IN_FLIGHT_MAX: usize = 1_024;

/// Bytes of the same. One request of any size is taken in when there is less.
const IN_FLIGHT_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX / 2;

/// An answer and the room it gives back when it is sent.
type Ready = (pb::ExecuteResponse, usize);

/// The answers to a stream of requests.
pub(super) struct Exchange<S> {
    /// `None` once there is nothing more to read.
    incoming: Option<S>,
    door: Arc<dyn Door>,
    meter: Arc<Meter>,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    running: FuturesUnordered<BoxFuture<'static, Vec<Ready>>>,
    ready: VecDeque<Ready>,
    requests: usize,
    bytes: usize,
    /// Why the stream ends, said after the last answer.
    end: Option<Status>,
}

impl<S> Exchange<S>
where
    S: Stream<Item = Result<pb::ExecuteRequest, Status>> + Unpin,
{
    /// Answers `incoming` until it ends or `closing` is cancelled; what is in flight is answered even then.
    pub(super) fn new(
        incoming: S,
        door: Arc<dyn Door>,
        meter: Arc<Meter>,
        closing: CancellationToken,
    ) -> Exchange<S> {
        Exchange {
            incoming: Some(incoming),
            door,
            meter,
            closing: Box::pin(closing.cancelled_owned()),
            running: FuturesUnordered::new(),
            ready: VecDeque::new(),
            requests: 0,
            bytes: 0,
            end: None,
        }
    }

    /// Reads what has arrived, as far as there is room for it.
    fn take_in(&mut self, cx: &mut Context<'_>) -> Vec<Asked> {
        let mut waiting = Vec::new();
        while self.requests < IN_FLIGHT_MAX && self.bytes < IN_FLIGHT_BYTES_MAX {
            let Some(incoming) = &mut self.incoming else { break };
            match Pin::new(incoming).poll_next(cx) {
                Poll::Ready(Some(Ok(request))) => {
                    self.requests += 1;
                    match understand(request) {
                        Ok(asked) => {
                            self.bytes += asked.weight;
                            if asked.calls.is_empty() {
                                let (_, slots) = asked.split();
                                let weight = slots.weight;
                                self.ready.push_back((slots.fill(&mut std::iter::empty()), weight));
                            } else {
                                waiting.push(asked);
                            }
                        }
                        Err(answer) => self.ready.push_back((answer, 0)),
                    }
                }
                Poll::Ready(Some(Err(status))) => {
                    self.incoming = None;
                    self.end = Some(status);
                }
                Poll::Ready(None) => self.incoming = None,
                Poll::Pending => {
                    if self.closing.as_mut().poll(cx).is_ready() {
                        self.incoming = None;
                        self.end = Some(Status::unavailable("this radiant is closing"));
                    }
                    break;
                }
            }
        }
        waiting
    }

    fn start(&mut self, Group { request, parts, .. }: Group) {
        let (door, meter) = (self.door.clone(), self.meter.clone());
        self.running.push(Box::pin(async move {
            let mut results = meter.execute(door.as_ref(), request).await.into_iter();
            let answer = |part: super::translate::Slots| {
                let weight = part.weight;
                (part.fill(&mut results), weight)
            };
            parts.into_iter().map(answer).collect()
        }));
    }
}

impl<S> Stream for Exchange<S>
where
    S: Stream<Item = Result<pb::ExecuteRequest, Status>> + Unpin,
{
    type Item = Result<pb::ExecuteResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some((answer, weight)) = self.ready.pop_front() {
                self.requests -= 1;
                self.bytes -= weight;
                return Poll::Ready(Some(Ok(answer)));
            }
            if let Poll::Ready(Some(answers)) = Pin::new(&mut self.running).poll_next(cx) {
                self.ready.extend(answers);
                continue;
            }
            let waiting = self.take_in(cx);
            if !waiting.is_empty() {
                for group in coalesce(self.door.clone().as_ref(), waiting.into_iter()) {
                    self.start(group);
                }
                continue;
            }
            if !self.ready.is_empty() {
                continue;
            }
            if self.incoming.is_none() && self.running.is_empty() {
                return Poll::Ready(self.end.take().map(Err));
            }
            return Poll::Pending;
        }
    }
}
