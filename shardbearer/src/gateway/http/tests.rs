//! The HTTP door over real sockets, before a radiant in memory.

use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Settings, serve};
use crate::gateway::testing::{self, PATIENCE, Served};
use crate::report::Status;

const VALUE_BYTES_MAX: usize = 1_000;

async fn closed() -> Served<()> {
    let settings = Settings {
        radiant: "http-test".into(),
        connections_max: 2,
        value_bytes_max: VALUE_BYTES_MAX,
        ..Default::default()
    };
    testing::serve(|listener, entrance, world, closing| serve(listener, entrance, settings, world, closing))
        .await
}

async fn open() -> Served<()> {
    closed().await.opened()
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// One request over a connection of its own. `headers` are lines.
async fn ask(served: &Served<()>, line: &str, headers: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(served.address).await.expect("it listens");
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(request.as_bytes()).await;
    read_answer(stream).await
}

async fn read_answer(mut stream: TcpStream) -> Answer {
    let mut raw = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut raw)).await.expect("in time").expect("a whole answer");
    let text = String::from_utf8(raw).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Answer { status, head: head.into(), body: body.into() }
}

/// What each request is answered, in this order, as one client would go through them.
#[tokio::test]
async fn statuses() {
    let served = open().await;
    let large = "x".repeat(VALUE_BYTES_MAX + 1);
    let long_key = format!("GET /v1/tables/default/keys/{}", "k".repeat(5_000));
    let key = |verb: &str, key: &str| format!("{verb} /v1/tables/default/keys/{key}");
    let steps: &[(String, &str, &str, u16)] = &[
        (key("GET", "a"), "", "", 404),
        (key("PUT", "a"), "", "one", 201),
        (key("PUT", "a"), "", "two", 200),
        (key("GET", "a"), "", "", 200),
        (key("GET", "a"), "if-none-match: \"2\"\r\n", "", 304),
        (key("HEAD", "a"), "", "", 200),
        (key("PUT", "a"), "if-none-match: *\r\n", "three", 412),
        (key("PUT", "a"), "if-match: \"1\"\r\n", "three", 412),
        (key("PUT", "a"), "if-match: \"2\"\r\n", "three", 200),
        (key("PUT", "b"), "if-match: *\r\n", "x", 412),
        (key("PUT", "b"), "if-none-match: *\r\n", "x", 201),
        (key("PUT", "b"), "if-none-match: \"7\"\r\n", "x", 400),
        (key("PUT", "b"), "if-match: nonsense\r\n", "x", 400),
        (key("PUT", "b?ttl_ms=0"), "", "x", 400),
        (key("PUT", "b?ttl_ms=soon"), "", "x", 400),
        (key("PUT", "b?ttl=5"), "", "x", 400),
        (key("PUT", "b?ttl_ms=60000"), "", "x", 200),
        (key("PUT", "b"), "", &large, 413),
        (long_key, "", "", 400),
        (key("GET", "%zz"), "", "", 400),
        (key("PUT", "odd"), "", "x", 409),
        (key("GET", "busy"), "", "", 503),
        (key("GET", "lost"), "", "", 504),
        (key("DELETE", "a"), "if-match: \"1\"\r\n", "", 412),
        (key("DELETE", "a"), "", "", 204),
        (key("DELETE", "a"), "", "", 404),
        (key("POST", "a"), "", "", 405),
        ("GET /v1/tables/none/keys/a".into(), "", "", 404),
        ("GET /v1/nowhere".into(), "", "", 404),
        ("GET /healthz".into(), "", "", 200),
        ("GET /readyz".into(), "", "", 200),
        ("GET /metrics".into(), "", "", 200),
        ("GET /v1/status".into(), "", "", 200),
        ("GET /v1/epochs".into(), "", "", 200),
        ("GET /v1/epochs/1".into(), "", "", 200),
        ("GET /v1/epochs/2".into(), "", "", 404),
        ("GET /v1/epochs/last".into(), "", "", 400),
        ("GET /v1/migration".into(), "", "", 200),
        ("GET /v1/timeline".into(), "", "", 200),
    ];
    for (line, headers, body, expected) in steps {
        let answer = ask(&served, line, headers, body).await;
        assert_eq!(answer.status, *expected, "{line} {headers}: {}", answer.body);
        if answer.status >= 400 {
            let json = answer.json();
            assert!(json["error"].as_str().is_some_and(|why| !why.is_empty()), "{line}: {json}");
            assert_eq!(json["outcome"], if answer.status == 504 { "unknown" } else { "refused" }, "{line}");
        }
    }
}

#[tokio::test]
async fn a_key_is_bytes_and_comes_with_its_revision() {
    let served = open().await;
    let line = "/v1/tables/default/keys/a%2F%00%FF";
    let put = ask(&served, &format!("PUT {line}?ttl_ms=60000"), "", "value").await;
    assert_eq!((put.status, put.header("etag"), put.header("x-revision")), (201, Some("\"1\""), Some("1")));
    let got = ask(&served, &format!("GET {line}"), "", "").await;
    assert_eq!((got.status, got.body.as_str(), got.header("etag")), (200, "value", Some("\"1\"")));
    assert_eq!(got.header("x-expires-at-ms"), put.header("x-expires-at-ms"));
    assert!(got.header("x-expires-at-ms").is_some_and(|at_ms| at_ms.parse::<u64>().is_ok()));
    let head = ask(&served, &format!("HEAD {line}"), "", "").await;
    assert_eq!((head.status, head.header("content-length"), head.body.as_str()), (200, Some("5"), ""));
    let neighbour = ask(&served, "GET /v1/tables/default/keys/a%2F%00", "", "").await;
    assert_eq!(neighbour.status, 404);
}

#[tokio::test]
async fn readiness_follows_entrance_and_heralds() {
    let served = closed().await;
    assert_eq!(ask(&served, "GET /healthz", "", "").await.status, 200);
    let ready = ask(&served, "GET /readyz", "", "").await;
    assert_eq!((ready.status, &ready.json()["ready"]), (503, &serde_json::Value::Bool(false)));
    for line in ["GET /v1/status", "GET /v1/tables/default/keys/a", "PUT /v1/tables/default/keys/a"] {
        let answer = ask(&served, line, "", "").await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{line}");
    }
    served.double.open(&served.entrance);
    assert_eq!(ask(&served, "GET /readyz", "", "").await.status, 200);
    served.double.headless.store(true, Ordering::SeqCst);
    let ready = ask(&served, "GET /readyz", "", "").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["reasons"][0], "shard 3 of table default: order 3 has no herald");
    let status: Status =
        serde_json::from_str(&ask(&served, "GET /v1/status", "", "").await.body).expect("status");
    assert_eq!((status.health.as_str(), status.shards.len(), status.tables.len()), ("down", 2, 1));
}

#[tokio::test]
async fn requests_are_counted() {
    let served = open().await;
    for line in ["GET /v1/tables/default/keys/a", "GET /v1/tables/default/keys/lost"] {
        ask(&served, line, "", "").await;
    }
    let text = ask(&served, "GET /metrics", "", "").await.body;
    let labels = r#"radiant="http-test",door="http",command="get""#;
    for line in [
        format!("shardbearer_requests_total{{{labels}}}"),
        format!("shardbearer_request_errors_total{{{labels},outcome=\"unknown\"}}"),
        format!("shardbearer_request_seconds_count{{{labels}}}"),
    ] {
        let value = text.lines().find_map(|found| found.strip_prefix(&line));
        let value: f64 =
            value.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("{line}: {text}"));
        assert!(value >= 1.0, "{line} {value}");
    }
    for metric in crate::telemetry::names::ALL {
        assert!(text.contains(&format!("# HELP {} ", metric.name)), "{}", metric.name);
    }
}

/// Heads beyond the limits end the connection with a status of the server below axum, without a body.
#[tokio::test]
async fn heads_are_bounded() {
    let served = open().await;
    let many = (0..100).map(|number| format!("x-{number}: 1\r\n")).collect::<String>();
    assert_eq!(ask(&served, "GET /healthz", &many, "").await.status, 431);
    // One that would go on: the server need not wait for its end.
    let mut stream = TcpStream::connect(served.address).await.expect("it listens");
    let long = format!("GET /healthz HTTP/1.1\r\nx-long: {}", "x".repeat(40_000));
    stream.write_all(long.as_bytes()).await.expect("sent");
    assert_eq!(read_answer(stream).await.status, 431);
    assert_eq!(ask(&served, "NO SENSE AT ALL", "", "").await.status, 400);
}

/// Connections beyond the limit wait until another one ends.
#[tokio::test]
async fn connections_are_bounded() {
    let served = open().await;
    let idle = [
        TcpStream::connect(served.address).await.expect("it listens"),
        TcpStream::connect(served.address).await.expect("it listens"),
    ];
    let mut third = TcpStream::connect(served.address).await.expect("the backlog takes it");
    third.write_all(b"GET /healthz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await.expect("sent");
    let mut byte = [0];
    let early = timeout(std::time::Duration::from_millis(200), third.peek(&mut byte)).await;
    assert!(early.is_err(), "answered although two connections are open");
    drop(idle);
    assert_eq!(read_answer(third).await.status, 200);
}

/// A request under way is answered, then everything ends; an idle connection does not hold it up.
#[tokio::test]
async fn closing_lets_requests_end() {
    let served = open().await;
    let _idle = TcpStream::connect(served.address).await.expect("it listens");
    let mut slow = TcpStream::connect(served.address).await.expect("it listens");
    slow.write_all(b"GET /v1/tables/default/keys/slow HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("sent");
    let at_the_door = async {
        while served.double.executed.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, at_the_door).await.expect("in time");
    served.closing.cancel();
    served.double.release();
    assert_eq!(read_answer(slow).await.status, 404, "no such key: that is the answer");
    timeout(PATIENCE, served.task).await.expect("in time").expect("no panic");
    assert!(TcpStream::connect(served.address).await.is_err(), "nobody listens any more");
}
