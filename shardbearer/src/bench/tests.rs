//! The whole loop against a server that keeps values in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::resp::{Reply, parse};
use super::*;

type Store = Arc<Mutex<HashMap<Vec<u8>, Vec<u8>>>>;

/// A Redis that knows GET, SET and CLUSTER SLOTS.
async fn server(store: Store) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let store = store.clone();
            tokio::spawn(async move {
                let mut input = BytesMut::new();
                while stream.read_buf(&mut input).await.is_ok_and(|read| read > 0) {
                    while let Ok(Some((command, used))) = parse(&input) {
                        input.advance(used);
                        if stream.write_all(&answer(command, &store, address.port())).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address.to_string()
}

fn answer(command: Reply, store: &Store, port: u16) -> Vec<u8> {
    let Reply::Array(Some(parts)) = command else { return b"-ERR\r\n".to_vec() };
    let parts: Vec<Vec<u8>> = parts
        .into_iter()
        .filter_map(|part| if let Reply::Bulk(bytes) = part { bytes } else { None })
        .collect();
    match parts.as_slice() {
        [name, key, value] if name == b"SET" => {
            store.lock().expect("not poisoned").insert(key.clone(), value.clone());
            b"+OK\r\n".to_vec()
        }
        [name, key] if name == b"GET" => match store.lock().expect("not poisoned").get(key) {
            Some(value) => [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat(),
            None => b"$-1\r\n".to_vec(),
        },
        [name, _] if name == b"CLUSTER" => {
            format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n").into_bytes()
        }
        _ => b"-ERR unknown command\r\n".to_vec(),
    }
}

fn options() -> Options {
    Options {
        clients: 4,
        pipeline: 8,
        value_size: 10,
        keys: 500,
        zipf: Some(0.9),
        warm_up: Duration::from_millis(20),
        duration: Duration::from_millis(200),
        pids: vec![std::process::id()],
        ..Options::default()
    }
}

#[tokio::test]
async fn redis_and_redis_cluster_are_filled_and_measured() {
    for cluster in [false, true] {
        let store = Store::default();
        let address = server(store.clone()).await;
        let target = if cluster { Target::RespCluster(vec![address]) } else { Target::Resp(vec![address]) };
        let report = run(target, options(), |_| {}).await.expect("it runs");
        assert_eq!(store.lock().expect("not poisoned").len(), 500, "every key was written");
        assert!(store.lock().expect("not poisoned").values().all(|value| value.len() == 10));
        assert_eq!((report.errors, report.last_error.as_deref()), (0, None));
        assert_eq!(report.all.ops, report.reads.ops + report.writes.ops);
        assert!(report.reads.ops > 0 && report.writes.ops > 0);
        assert!(report.all.p50_us <= report.all.p99_us && report.all.p99_us <= report.all.max_us);
        let json = serde_json::to_value(&report).expect("plain data");
        assert!(json["all"]["p999_us"].is_u64() && json["servers"]["rss_bytes"].as_u64() > Some(0));
    }
}

#[tokio::test]
async fn with_a_rate_no_more_is_sent_than_is_due() {
    let address = server(Store::default()).await;
    let options =
        Options { rate: Some(1_000.0), pipeline: 1, duration: Duration::from_millis(500), ..options() };
    let report = run(Target::Resp(vec![address]), options, |_| {}).await.expect("it runs");
    assert_eq!(report.errors, 0);
    assert!((1..=501).contains(&report.all.ops), "{}", report.all.ops);
}

#[tokio::test]
async fn what_cannot_be_sent_in_time_is_given_up_and_counted() {
    let address = server(Store::default()).await;
    let (rate, duration) = (1e6, Duration::from_millis(500));
    let options = Options {
        rate: Some(rate),
        give_up: Some(Duration::from_millis(50)),
        pipeline: 1,
        duration,
        ..options()
    };
    let report = run(Target::Resp(vec![address]), options, |_| {}).await.expect("it runs");
    assert_eq!(report.errors, 0);
    assert!(report.all.ops > 0 && report.given_up > report.all.ops, "{report:?}");
    let (due, met) = ((rate * duration.as_secs_f64()) as u64, report.all.ops + report.given_up);
    assert!(met.abs_diff(due) < due / 10, "{met} of {due}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let error =
        run(Target::Resp(vec![closed.to_string()]), options(), |_| {}).await.expect_err("nobody is there");
    assert!(format!("{error:#}").contains(&closed.to_string()), "{error:#}");
}
