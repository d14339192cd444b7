//! What HTTP clients send; see [`crate::fuzzing`].

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{OrderId, RadiantId, ShardId};
use shardbearer_core::kv::{Command, Record, RecordInfo, Reply};
use shardbearer_core::topology::Topology;
use shardbearer_proto::{convert, pb};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Shared, routes};
use crate::fuzzing::Source;
use crate::gateway::{Inside, Overview};
use crate::kv::{CallResult, Door, Request};
use crate::telemetry::meter::Meter;
use crate::world::Real;

/// Longest value of the door under test.
const VALUE_BYTES_MAX: usize = 100;

/// A stream of requests on one connection, whole and in pieces as the first byte says.
pub fn http(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let length = usize::from(source.byte()) + 1;
    let stream = source.rest();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a thread is enough");
    let (whole, pieces) =
        runtime.block_on(async { (served(stream, stream.len().max(1)).await, served(stream, length).await) });
    for line in String::from_utf8_lossy(&whole).lines().filter(|line| line.starts_with("HTTP/")) {
        assert!(!line.contains(" 500 "), "{line}");
    }
    assert!(whole.is_empty() || whole.starts_with(b"HTTP/1."), "an answer begins with its status");
    // As far as both go: of what is no HTTP, it depends on what was read at once whether a last word is said about it.
    let (pieces, whole) = (undated(&pieces), undated(&whole));
    assert!(pieces.starts_with(&whole) || whole.starts_with(&pieces), "{pieces}\nis not\n{whole}");
}

/// What the door answers to these bytes, until both have said all.
async fn served(stream: &[u8], length: usize) -> Vec<u8> {
    let (world, _real) = Real::create();
    let entrance = Arc::new(OnceLock::new());
    let double = Arc::new(Agreeing);
    let _ = entrance.set(Inside { door: double.clone(), overview: double });
    let meter = Arc::new(Meter::new("radiant", "http", world.clone()));
    let router = routes(Shared { entrance, meter, world, value_bytes_max: VALUE_BYTES_MAX });
    // Smaller than a request, so that both sides take turns.
    let (client, server) = tokio::io::duplex(length.clamp(64, 4096));
    let serving = http1::Builder::new()
        .header_read_timeout(None)
        // The end of the input is no hurry to leave: every request is answered.
        .half_close(true)
        .max_headers(super::server::HEADERS_MAX)
        .max_buf_size(super::server::HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(server), TowerToHyperService::new(router));
    let (mut reading, mut writing) = tokio::io::split(client);
    let asking = async move {
        for piece in stream.chunks(length) {
            if writing.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        // The server may have ended the connection first.
        let _ = writing.shutdown().await;
    };
    let mut answers = Vec::new();
    let listening = async {
        let _ = reading.read_to_end(&mut answers).await;
    };
    let _ = tokio::join!(serving, asking, listening);
    answers
}

/// Without what tells the time.
fn undated(answers: &[u8]) -> String {
    let timeless = |line: &&str| !line.starts_with("date: ") && !line.starts_with("x-expires-at-ms: ");
    String::from_utf8_lossy(answers).lines().filter(timeless).collect::<Vec<_>>().join("\n")
}

/// A radiant that does what it is asked and remembers nothing.
struct Agreeing;

#[async_trait]
impl Door for Agreeing {
    async fn execute(&self, request: Request) -> Vec<CallResult> {
        request.calls.into_iter().map(|call| answer(&call.command)).collect()
    }

    fn topology(&self) -> Arc<Topology> {
        Arc::default()
    }

    fn me(&self) -> RadiantId {
        RadiantId(1)
    }

    fn herald(&self, _: OrderId) -> Option<RadiantId> {
        Some(RadiantId(1))
    }

    fn locate(&self, table: &str, _: &[u8]) -> Option<(ShardId, OrderId)> {
        (table == "default").then_some((ShardId(1), OrderId(2)))
    }
}

/// By the last byte of the key there is one, or none, or it is refused.
fn answer(command: &Command) -> CallResult {
    assert_eq!(convert::client_may_send(command, VALUE_BYTES_MAX), Ok(()), "the door sees only what it may");
    let key = command.key().cloned().unwrap_or_default();
    let (there, revision) = (key.last().is_some_and(|byte| byte % 2 == 0), key.len() as u64);
    Ok(match command {
        _ if key.starts_with(b"busy") => return Err(Refused::Busy("busy".into()).into()),
        Command::Batch { commands, .. } => {
            let replies = commands.iter().map(answer).collect::<Result<Vec<Reply>, RequestError>>()?;
            Reply::Batch { applied: true, replies }
        }
        Command::Get { .. } => {
            let value = key.repeat(10).into();
            Reply::Record(there.then_some(Record { value, revision, expires_at_ms: Some(1) }))
        }
        Command::Inspect { .. } => {
            Reply::Info(there.then_some(RecordInfo { length: revision, revision, expires_at_ms: None }))
        }
        Command::Delete { .. } => Reply::Deleted { existed: there, previous: None },
        Command::Put { .. } if there => Reply::Written { revision, previous: None },
        _ => Reply::ConditionFailed { current: None },
    })
}

#[async_trait]
impl Overview for Agreeing {
    fn map(&self) -> pb::MapResponse {
        pb::MapResponse::default()
    }

    fn status(&self) -> pb::StatusResponse {
        pb::StatusResponse { health: "ok".into(), ..Default::default() }
    }

    async fn migrate(&self, _: pb::MoveRequest) -> Result<pb::MoveResponse, RequestError> {
        Ok(pb::MoveResponse::default())
    }

    async fn epochs(&self) -> Result<Vec<pb::EpochRecord>, RequestError> {
        Ok(Vec::new())
    }
}
