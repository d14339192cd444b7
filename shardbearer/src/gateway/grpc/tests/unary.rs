//! `Kv.Execute`: what is carried out, what is refused inside the result, what breaks the call.

use bytes::{Buf, BufMut, Bytes};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::kv::{Command, Reply};
use shardbearer_core::limits;
use shardbearer_proto::pb;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status};

use super::{call, channel, get, kv, open, put, request, results};
use crate::gateway::grpc::translate::CALLS_MAX;

fn is_invalid(result: &Result<Reply, RequestError>) -> bool {
    matches!(result, Err(RequestError::Refused(Refused::Invalid(_))))
}

#[tokio::test]
async fn what_is_put_is_got() {
    let served = open().await;
    let mut kv = kv(&served).await;
    let answer =
        kv.execute(request(7, [put("a", "1"), get("a"), get("b")])).await.expect("served").into_inner();
    assert_eq!(answer.tag, 7);
    let results = results(answer);
    assert!(matches!(results[0], Ok(Reply::Written { revision: 1, .. })), "{results:?}");
    assert!(matches!(&results[1], Ok(Reply::Record(Some(record))) if record.value == "1"), "{results:?}");
    assert!(matches!(results[2], Ok(Reply::Record(None))), "{results:?}");
}

/// Every bad call is refused in its own place; the good ones between them are carried out.
#[tokio::test]
async fn bad_calls_do_not_harm_their_neighbours() {
    let served = open().await;
    let mut unknown_condition = put("a", "1");
    if let Some(pb::command::Kind::Put(put)) =
        unknown_condition.command.as_mut().and_then(|command| command.kind.as_mut())
    {
        // What a condition of the future looks like to us. It must not be taken for "always".
        put.condition = Some(pb::Condition { kind: None });
    }
    let too_long = "x".repeat(limits::KEY_BYTES_MAX + 1);
    let half_an_id = pb::Call { id: Some(pb::RequestId::default()), ..get("a") };
    let calls = [
        unknown_condition,
        put("b", "2"),
        pb::Call::default(),
        pb::Call { command: Some(pb::Command { kind: None }), ..Default::default() },
        call(&Command::Adopt { epoch: 1 }),
        call(&Command::Sweep { limit: 1 }),
        get(&too_long),
        get(""),
        half_an_id,
        get("a"),
        get("lost"),
        get("busy"),
    ];
    let answer = kv(&served).await.execute(request(1, calls)).await.expect("served").into_inner();
    let results = results(answer);
    for bad in [0, 2, 3, 4, 5, 6, 7, 8] {
        assert!(is_invalid(&results[bad]), "{bad}: {:?}", results[bad]);
    }
    assert!(matches!(results[1], Ok(Reply::Written { .. })), "{results:?}");
    assert_eq!(results[9], Ok(Reply::Record(None)), "the put with the unknown condition did nothing");
    assert!(matches!(results[10], Err(RequestError::Unknown(_))), "{results:?}");
    assert!(matches!(results[11], Err(RequestError::Refused(Refused::Busy(_)))), "{results:?}");
    assert_eq!(results.len(), 12);
}

#[tokio::test]
async fn too_much_is_refused() {
    let served = open().await;
    let mut kv = kv(&served).await;
    let value = "x".repeat(limits::GROWN_VALUE_BYTES_MAX + 1);
    let answer = kv.execute(request(1, [put("a", &value)])).await.expect("served").into_inner();
    assert!(is_invalid(&results(answer)[0]), "a value beyond any limit");

    let answer = kv.execute(request(2, vec![get("a"); CALLS_MAX + 1])).await.expect("served").into_inner();
    assert!(matches!(&results(answer)[..], [one] if is_invalid(one)), "too many calls");

    let value = "x".repeat(limits::MESSAGE_BYTES_MAX);
    let status = kv.execute(request(3, [put("a", &value)])).await.expect_err("beyond any message");
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
}

#[tokio::test]
async fn what_is_no_protobuf_breaks_only_its_call() {
    let served = open().await;
    let channel = channel(&served).await;
    for garbage in [&b"\xff\xff\xff\xff"[..], b"\x22\x7f", b"\x0a\x01a"] {
        let mut raw = tonic::client::Grpc::new(channel.clone());
        raw.ready().await.expect("connected");
        let path = axum::http::uri::PathAndQuery::from_static("/shardbearer.v1.Kv/Execute");
        let message = tonic::Request::new(Bytes::from_static(garbage));
        let status = raw.unary(message, path, Raw).await.expect_err("no message");
        assert_eq!(status.code(), Code::Internal, "{status}");
    }
    let mut kv = pb::kv_client::KvClient::new(channel);
    let answer = kv.execute(request(1, [get("a")])).await.expect("the connection is still good");
    assert_eq!(results(answer.into_inner()), [Ok(Reply::Record(None))]);
}

/// Sends bytes as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
