//! The client against doubles that lose, repeat, redirect and refuse.

#![allow(clippy::unwrap_used)] // a test that fails says where

mod double;

use std::time::Duration;

use double::{Cluster, Fault};
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use shardbearer_client::pb::request_error::{Kind, NotHerald};
use shardbearer_client::{Builder, Client, Conditional, Error};
use tokio::time::Instant;

fn builder(cluster: &Cluster) -> Builder {
    cluster.addresses.iter().fold(Client::builder(), |builder, address| builder.endpoint(address))
}

/// Whatever happens to messages on their way, every increment takes effect once. Connections break before and after
/// applying, answers come twice, and radiants fall silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_take_effect_exactly_once() {
    let cluster = Cluster::new(2).await;
    let faults = [Fault::CutAfter, Fault::Twice, Fault::CutBefore, Fault::CutAfter, Fault::Silent];
    for radiant in [1, 2] {
        cluster.fault(radiant, faults.iter().cycle().take(40).cloned());
    }
    let client = builder(&cluster)
        .attempt_timeout(Duration::from_millis(200))
        .timeout(Duration::from_secs(50))
        .in_flight_max(20)
        .connect()
        .await
        .unwrap();
    let results = join_all((0..200).map(|_| client.increment("sum", 1))).await;
    for result in results {
        result.unwrap();
    }
    assert_eq!(client.get("sum").await.unwrap().unwrap().value, "200");
    let store = cluster.store.lock().unwrap();
    assert_eq!(store.effects, 200);
    let mut seen = std::collections::HashSet::new();
    for (_, call) in &store.calls {
        if let Some(id) = &call.id {
            let first = seen.insert((id.session.clone(), id.number));
            assert!(first || id.retry, "a repetition says that it is one");
        }
    }
    assert!(store.calls.len() > 201, "the faults made somebody try again");
}

/// A herald that has moved is followed, and the next call goes straight to it.
#[tokio::test]
async fn redirects_are_followed_and_remembered() {
    let cluster = Cluster::new(3).await;
    cluster.always(1, Some(Fault::Refuse(Kind::NotHerald(NotHerald { order: 2, hint: 3 }))));
    let client = builder(&cluster).connect().await.unwrap();
    client.put("a", "1").await.unwrap();
    client.put("b", "2").await.unwrap();
    let radiants: Vec<u64> =
        cluster.store.lock().unwrap().calls.iter().map(|(radiant, _)| *radiant).collect();
    assert_eq!(radiants, [1, 3, 3]);
}

/// Calls that start together share messages.
#[tokio::test]
async fn calls_that_wait_travel_together() {
    let cluster = Cluster::new(1).await;
    let client = builder(&cluster).connect().await.unwrap();
    let commands =
        (0..500).map(|n: u32| shardbearer_client::Command::Increment { key: n.to_string().into(), by: 1 });
    assert!(client.batch_each(commands).await.iter().all(Result::is_ok));
    assert!(cluster.store.lock().unwrap().messages <= 50, "500 calls in few messages");
}

/// Values of which no two fit one answer must still be read, and soon: after two losses, calls travel alone.
#[tokio::test]
async fn answers_that_do_not_fit_one_message_are_asked_for_one_by_one() {
    let cluster = Cluster::new(1).await;
    let client = builder(&cluster).connect().await.unwrap();
    let long = vec![b'x'; double::ANSWER_BYTES_MAX / 2 + 1];
    client.put("k", long.clone()).await.unwrap();
    let records = join_all((0..60).map(|_| client.get("k"))).await;
    for record in records {
        assert_eq!(record.unwrap().unwrap().value.len(), long.len());
    }
    let calls = cluster.store.lock().unwrap().calls.len();
    assert!(calls <= 4 * 60, "{calls} calls for 60 values");
}

/// A refusal is one only while no attempt may have been applied.
#[tokio::test]
async fn errors_tell_whether_it_may_have_happened() {
    let cluster = Cluster::new(1).await;
    let client = builder(&cluster).timeout(Duration::from_millis(300)).connect().await.unwrap();
    cluster.always(1, Some(Fault::Refuse(Kind::Busy("full".into()))));
    let error = client.put("k", "v").await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    assert_eq!(cluster.store.lock().unwrap().effects, 0);

    cluster.always(1, Some(Fault::Silent));
    let error = client.put("k", "v").await.unwrap_err();
    assert!(error.may_have_happened(), "{error}");
    assert_eq!(cluster.store.lock().unwrap().effects, 1, "it did");
    let error = client.get("k").await.unwrap_err();
    assert!(!error.may_have_happened(), "a read leaves nothing behind: {error}");
    assert!(matches!(client.put("", "v").await, Err(Error::Refused(_))), "no key");
}

/// Dropped futures must not keep their numbers: with one session of four numbers, forty are abandoned half-way.
#[tokio::test]
async fn dropped_futures_do_not_wedge_the_window() {
    let cluster = Cluster::new(1).await;
    let client = builder(&cluster).sessions(1, 4).connect().await.unwrap();
    cluster.always(1, Some(Fault::Silent));
    for round in 1..=10 {
        let calls: Vec<_> = (0..4)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.increment("n", 1).await })
            })
            .collect();
        cluster.until("the calls arrived", |store| store.calls.len() >= 4 * round).await;
        calls.iter().for_each(tokio::task::JoinHandle::abort);
        for call in calls {
            assert!(call.await.unwrap_err().is_cancelled());
        }
    }
    cluster.always(1, None);
    client.increment("n", 1).await.unwrap();
    let store = cluster.store.lock().unwrap();
    let last = store.calls.last().unwrap().1.id.clone().unwrap();
    assert_eq!(last.unanswered_from, last.number, "nothing else is waited for");
}

/// A shard that forgot the session refuses repetitions. If all attempts before were refused, the client begins anew.
#[tokio::test]
async fn a_forgotten_session_is_no_obstacle_when_nothing_happened() {
    let cluster = Cluster::new(1).await;
    let client = builder(&cluster).connect().await.unwrap();
    cluster.fault(1, [Fault::Refuse(Kind::Closed(true)), Fault::Forgot]);
    client.increment("n", 1).await.unwrap();
    cluster.fault(1, [Fault::CutBefore, Fault::Forgot]);
    assert!(client.increment("n", 1).await.unwrap_err().may_have_happened());
}

/// Endpoints that nobody listens on cost little; if there are only those, that is said in time.
#[tokio::test]
async fn dead_endpoints_are_passed_over() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let cluster = Cluster::new(1).await;
    let client = Client::builder().endpoint(&closed).endpoint(&cluster.addresses[0]).connect().await.unwrap();
    client.put("k", "v").await.unwrap();
    assert_eq!(client.status().await.unwrap().health, "ok");
    assert_eq!(client.epochs().await.unwrap().len(), 1);
    assert_eq!(client.topology().epoch.0, 1);

    let began = Instant::now();
    let nobody = Client::builder().endpoint(&closed).timeout(Duration::from_millis(300)).connect().await;
    let error = nobody.err().expect("nobody is there");
    assert!(!error.may_have_happened(), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// Conditions are results, and scans page through everything once and in order.
#[tokio::test]
async fn typed_results_and_scans() {
    let cluster = Cluster::new(2).await;
    let client = builder(&cluster).connect().await.unwrap();
    for n in 0..25 {
        let done = client.put(format!("row:{n:02}"), n.to_string()).if_absent().await.unwrap();
        assert!(matches!(done, Conditional::Done(_)));
    }
    client.put("other", "x").await.unwrap();
    match client.put("row:07", "again").if_absent().await.unwrap() {
        Conditional::ConditionFailed { current } => assert_eq!(current.unwrap().value, "7"),
        Conditional::Done(written) => panic!("{written:?}"),
    }
    let rows: Vec<_> = client.scan().prefix("row:").page_rows(4).rows().try_collect().await.unwrap();
    let values: Vec<String> =
        rows.iter().map(|row| String::from_utf8(row.record.value.to_vec()).unwrap()).collect();
    assert_eq!(values, (0..25).map(|n: u32| n.to_string()).collect::<Vec<_>>());
    let mut few = client.scan().limit(6).page_rows(4);
    assert_eq!(few.next_page().await.unwrap().unwrap().len(), 4);
    assert_eq!(few.next_page().await.unwrap().unwrap().len(), 2);
    assert!(few.next_page().await.unwrap().is_none());
}
