//! What stands beside data: cluster, health, reflection, peers; and a door that is not open yet.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use shardbearer_core::error::RequestError;
use shardbearer_proto::pb;
use shardbearer_proto::pb::admin_client::AdminClient;
use shardbearer_proto::pb::peer_client::PeerClient;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::{channel, closed, get, kv, open, put, request, results};
use crate::gateway::grpc::{Settings, serve};
use crate::gateway::testing::{self, PATIENCE};
use crate::transport::{PeerService, Stranger};

#[tokio::test]
async fn the_cluster_is_shown() {
    let served = open().await;
    let mut admin = AdminClient::new(channel(&served).await);
    let map = admin.map(pb::MapRequest {}).await.expect("map").into_inner();
    assert_eq!(map.topology.expect("known").tables[0].name, "default");
    let status = admin.status(pb::StatusRequest {}).await.expect("status").into_inner();
    assert_eq!((status.answered_by.as_str(), status.shards.len()), ("double", 2));
    let epochs = admin.epochs(pb::EpochsRequest::default()).await.expect("epochs").into_inner();
    assert_eq!(epochs.epochs[0].who, "founding");
}

#[tokio::test]
async fn a_closed_entrance_says_so() {
    let served = closed().await;
    let (mut kv, mut admin) = (kv(&served).await, AdminClient::new(channel(&served).await));
    let refusals = [
        kv.execute(request(1, [get("a")])).await.map(drop),
        kv.stream(tokio_stream::iter([request(1, [get("a")])])).await.map(drop),
        admin.map(pb::MapRequest {}).await.map(drop),
        admin.status(pb::StatusRequest {}).await.map(drop),
        admin.epochs(pb::EpochsRequest::default()).await.map(drop),
    ];
    for refusal in refusals {
        let status = refusal.expect_err("not inside");
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("not found its cluster"), "{status}");
    }
}

#[tokio::test]
async fn health_follows_the_entrance() {
    let served = closed().await;
    let mut health = HealthClient::new(channel(&served).await);
    let mut watched = Vec::new();
    for service in ["", "shardbearer.v1.Kv", "shardbearer.v1.Admin"] {
        let request = HealthCheckRequest { service: service.into() };
        watched.push(health.watch(request).await.expect("watched").into_inner());
    }
    let mut expect = async |expected: ServingStatus| {
        for stream in &mut watched {
            let next = timeout(PATIENCE, stream.next()).await.expect("in time");
            assert_eq!(next.expect("goes on").expect("a status").status(), expected);
        }
    };
    expect(ServingStatus::NotServing).await;
    served.double.open(&served.entrance);
    expect(ServingStatus::Serving).await;
    let overall = health.check(HealthCheckRequest::default()).await.expect("checked").into_inner();
    assert_eq!(overall.status(), ServingStatus::Serving);
    served.closing.cancel();
    expect(ServingStatus::NotServing).await;
}

#[tokio::test]
async fn services_describe_themselves() {
    let served = closed().await;
    let mut reflection = ServerReflectionClient::new(channel(&served).await);
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers =
        reflection.server_reflection_info(tokio_stream::iter([ask])).await.expect("open").into_inner();
    let answer = answers.next().await.expect("an answer").expect("good");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("no list: {answer:?}");
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["shardbearer.v1.Kv", "shardbearer.v1.Admin", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
}

/// Beacons are how a radiant gets inside: they cannot wait for it.
#[tokio::test]
async fn peers_are_served_before_the_entrance_is_open() {
    let served = testing::serve(|listener, entrance, world, closing| {
        let membership = Arc::new(OnceLock::new());
        let peers = PeerService::new(membership, Arc::new(Echo), world.clone(), closing.clone());
        serve(listener, entrance, Some(peers), Settings::default(), world, closing)
    })
    .await;
    let mut peer = PeerClient::new(channel(&served).await);
    let beacon = pb::BeaconRequest { body: Bytes::from_static(b"hello") };
    assert_eq!(peer.beacon(beacon).await.expect("answered").into_inner().body, "hello");
}

struct Echo;

#[async_trait]
impl Stranger for Echo {
    async fn beacon(&self, body: Bytes) -> Result<Bytes, RequestError> {
        Ok(body)
    }

    async fn control(&self, _: pb::ControlRequest) -> pb::ControlResponse {
        pb::ControlResponse::default()
    }
}

/// A connection that does not begin to speak would keep the place of a client: nobody probes it before it has spoken.
#[tokio::test]
async fn who_does_not_begin_to_speak_is_sent_away() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let settings = Settings { preface_within: std::time::Duration::from_millis(200), ..Settings::default() };
    let served = testing::serve(|listener, entrance, world, closing| {
        serve(listener, entrance, None, settings, world, closing)
    });
    let served = served.await.opened();
    let mut client = kv(&served).await;
    for words in [&b""[..], b"P", b"PRI * HTTP/2.0"] {
        let mut stream = tokio::net::TcpStream::connect(served.address).await.expect("it listens");
        stream.write_all(words).await.expect("it reads");
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(testing::PATIENCE, stream.read_to_end(&mut rest)).await;
        // A reset is an end, too.
        let _ = ended.expect("in time");
    }
    let answer = client.execute(request(1, [put("a", "1")])).await.expect("who spoke stays");
    assert_eq!(results(answer.into_inner()).len(), 1);
}
