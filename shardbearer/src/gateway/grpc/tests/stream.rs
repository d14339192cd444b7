//! `Kv.Stream`: any order, all answered, few requests at the door, never too much in flight.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use shardbearer_core::kv::Reply;
use shardbearer_proto::pb;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::{get, kv, open, put, request, results};
use crate::gateway::grpc::stream::{Exchange, IN_FLIGHT_MAX};
use crate::gateway::grpc::{Settings, serve};
use crate::gateway::testing::{self, Double, PATIENCE};
use crate::telemetry::meter::Meter;
use crate::world::Real;

/// A request that waits holds up nobody else; every tag is answered once.
#[tokio::test]
async fn tags_are_answered_in_any_order() {
    const MANY: u64 = 3_000;
    let served = open().await;
    let (requests, stream) = mpsc::channel(64);
    let mut answers = kv(&served).await.stream(ReceiverStream::new(stream)).await.expect("open").into_inner();
    requests.send(request(1, [get("slow")])).await.expect("read");
    tokio::spawn(async move {
        for tag in 2..=MANY {
            // Of another order than the slow one: they share nothing that it waits for.
            let call = if tag % 2 == 0 { put("b", "x") } else { get("d") };
            if requests.send(request(tag, [call])).await.is_err() {
                return;
            }
        }
    });
    let mut tags = BTreeSet::new();
    while let Some(answer) = timeout(PATIENCE, answers.next()).await.expect("in time") {
        let answer = answer.expect("answered");
        let tag = answer.tag;
        let results = results(answer);
        assert!(matches!(results[..], [Ok(Reply::Written { .. } | Reply::Record(None))]), "{results:?}");
        assert!(tags.insert(tag), "{tag} was answered twice");
        if tags.len() as u64 == MANY - 1 {
            assert!(!tags.contains(&1), "the slow one waits until it is released");
            served.double.release();
        }
    }
    assert_eq!(tags.len() as u64, MANY);
}

#[tokio::test]
async fn an_open_stream_ends_when_the_door_closes() {
    let served = open().await;
    let (requests, stream) = mpsc::channel(1);
    let mut answers = kv(&served).await.stream(ReceiverStream::new(stream)).await.expect("open").into_inner();
    requests.send(request(1, [get("a")])).await.expect("read");
    assert_eq!(answers.next().await.expect("an answer").expect("good").tag, 1);
    served.closing.cancel();
    let ended = timeout(PATIENCE, answers.next()).await.expect("in time").expect("a reason");
    assert_eq!(ended.expect_err("the end").code(), Code::Unavailable);
    timeout(PATIENCE, served.task).await.expect("in time").expect("no panic").expect("served");
    drop(requests);
}

/// Requests that do not end hold up nobody beyond the grace.
#[tokio::test]
async fn what_does_not_end_in_time_is_cut_off() {
    let served = testing::serve(|listener, entrance, world, closing| {
        let settings = Settings { grace: Duration::from_millis(50), ..Settings::default() };
        serve(listener, entrance, None, settings, world, closing)
    })
    .await
    .opened();
    let waiting = pb::ExecuteRequest { deadline_ms: u32::MAX, ..request(1, [get("slow")]) };
    let mut kv = kv(&served).await;
    let mut answers = kv.stream(tokio_stream::iter([waiting])).await.expect("open").into_inner();
    served.closing.cancel();
    let ended = timeout(PATIENCE, answers.next()).await.expect("in time").expect("a reason");
    assert!(ended.is_err(), "{ended:?}");
    timeout(PATIENCE, served.task).await.expect("in time").expect("no panic").expect("served");
}

/// 64 callers that ask at once are one request per order and kind at the door.
#[tokio::test]
async fn what_waits_together_is_carried_out_together() {
    let double = Double::new();
    let callers = (0..64).map(|tag| {
        let key = format!("{}", char::from(b'a' + u8::try_from(tag % 16).expect("small")));
        let call = if tag < 32 { put(&key, "x") } else { get(&key) };
        Ok(request(tag, [call]))
    });
    let incoming = tokio_stream::iter(callers.chain([Ok(request(64, [get("a"), get("b")]))]));
    let answers: Vec<_> = exchange(&double, incoming).collect().await;
    assert_eq!(answers.len(), 65);
    assert!(answers.iter().all(Result::is_ok));
    // Reads and writes of two orders, and the one that concerns both.
    assert_eq!(double.executed.load(Ordering::SeqCst), 5);
}

/// A client that does not read its answers, or whose requests wait, is not read any more.
#[tokio::test]
async fn a_stream_takes_in_no_more_than_it_may() {
    let double = Double::new();
    let taken = Arc::new(AtomicUsize::new(0));
    let incoming = Counted { taken: taken.clone(), left: 5 * IN_FLIGHT_MAX };
    let mut exchange = exchange(&double, incoming);
    let mut context = Context::from_waker(std::task::Waker::noop());
    for _ in 0..10 {
        assert!(Pin::new(&mut exchange).poll_next(&mut context).is_pending(), "all of them are slow");
    }
    assert_eq!(taken.load(Ordering::SeqCst), IN_FLIGHT_MAX);
    double.release();
    let answers = timeout(PATIENCE, exchange.collect::<Vec<_>>()).await.expect("in time");
    assert_eq!(answers.len(), 5 * IN_FLIGHT_MAX);
}

fn exchange<S>(double: &Arc<Double>, incoming: S) -> Exchange<S>
where
    S: Stream<Item = Result<pb::ExecuteRequest, Status>> + Unpin,
{
    let (world, _) = Real::create();
    let meter = Arc::new(Meter::new("exchange", "grpc", world));
    Exchange::new(incoming, double.clone(), meter, CancellationToken::new())
}

/// As many slow requests as one takes.
struct Counted {
    taken: Arc<AtomicUsize>,
    left: usize,
}

impl Stream for Counted {
    type Item = Result<pb::ExecuteRequest, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(left) = self.left.checked_sub(1) else { return Poll::Ready(None) };
        self.left = left;
        let tag = self.taken.fetch_add(1, Ordering::SeqCst) as u64;
        Poll::Ready(Some(Ok(request(tag, [get("slow")]))))
    }
}

/// A message that is no protobuf ends the stream, but not before the requests ahead of it are answered.
#[tokio::test]
async fn a_broken_message_comes_after_the_answers() {
    let double = Double::new();
    let incoming =
        [Ok(request(1, [put("a", "x")])), Ok(request(2, [])), Err(Status::internal("no protobuf"))];
    let answers: Vec<_> = exchange(&double, tokio_stream::iter(incoming)).collect().await;
    let tags: Vec<_> = answers.iter().map(|answer| answer.as_ref().ok().map(|answer| answer.tag)).collect();
    assert_eq!(tags, [Some(2), Some(1), None], "the empty one needs no door");
}
