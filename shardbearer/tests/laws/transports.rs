//! The kit for transports, on real sockets.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use shardbearer::transport::{GrpcTransport, Links, Membership, PeerService, Stranger};
use shardbearer::world::Real;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{ClusterId, OrderId, RadiantId};
use shardbearer_core::limits;
use shardbearer_core::transport::{Channel, Frame, Inbound, Transport};
use shardbearer_proto::pb;
use shardbearer_proto::pb::peer_server::PeerServer;
use shardbearer_sim::conformance::transport::{Inbounds, Subject, Wires, check};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

const CHANNELS: &[Channel] = &[
    Channel::Engine(OrderId(1)),
    Channel::Engine(OrderId(u64::MAX)),
    Channel::Forward,
    Channel::Pulse,
    Channel::Control,
];

#[test]
fn grpc_keeps_the_laws_of_transports() {
    check(&Subject {
        connect: &|inbounds| Box::pin(connect(inbounds)),
        channels: CHANNELS,
        virtual_time: false,
    });
}

/// Answers with what it was asked.
struct Echo;

#[async_trait]
impl Inbound for Echo {
    async fn receive(&self, _: RadiantId, frame: Frame) -> Option<Bytes> {
        Some(frame.body)
    }
}

/// Who is merely not there yet was not lost; who was there and is gone is, at once.
#[tokio::test]
async fn a_way_that_breaks_is_told() {
    let (one, other) = (RadiantId(1), RadiantId(2));
    let echo: Arc<dyn Inbound> = Arc::new(Echo);
    let Wires { transports, stop } = connect([(one, echo.clone()), (other, echo)].into()).await;
    let way = &transports[&one];
    assert!(!way.has_just_lost(other), "there was none");
    let patience = Duration::from_secs(20);
    let frame = Frame { channel: Channel::Forward, body: Bytes::from_static(b"?") };
    let start = Instant::now();
    while way.call(other, frame.clone(), patience).await.is_err() {
        assert!(start.elapsed() < patience, "it cannot be reached");
        tokio::task::yield_now().await;
    }
    assert!(!way.has_just_lost(other), "it answers");
    stop(other).await;
    let start = Instant::now();
    while !way.has_just_lost(other) {
        assert!(start.elapsed() < patience, "nobody noticed");
        tokio::task::yield_now().await;
    }
    assert!(!way.has_just_lost(RadiantId(3)), "it never was");
    stop(one).await;
}

const CLUSTER: ClusterId = ClusterId(7);
const ELECTION_MS: u64 = 1_000;

/// Nobody here has questions before it belongs to a cluster.
struct Nobody;

#[async_trait]
impl Stranger for Nobody {
    async fn beacon(&self, _: Bytes) -> Result<Bytes, RequestError> {
        Err(Refused::Closed.into())
    }

    async fn control(&self, _: pb::ControlRequest) -> pb::ControlResponse {
        pb::ControlResponse::default()
    }
}

/// One radiant each: a service on a port, and links to all.
async fn connect(inbounds: Inbounds) -> Wires {
    let mut peers = BTreeMap::new();
    let mut ends = BTreeMap::new();
    let mut links: BTreeMap<RadiantId, Arc<dyn Links>> = BTreeMap::new();
    for (me, inbound) in inbounds {
        let (world, real) = Real::create();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        peers.insert(me, listener.local_addr().expect("bound").to_string());
        let membership = Arc::new(OnceLock::new());
        let member = Membership { cluster: CLUSTER, me, election_ms: ELECTION_MS, inbound: inbound.clone() };
        assert!(membership.set(member).is_ok());
        let closing = CancellationToken::new();
        let service = PeerService::new(membership, Arc::new(Nobody), world.clone(), closing.clone());
        let service = PeerServer::new(service)
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
        let served = tonic::transport::Server::builder().add_service(service);
        let serving = tokio::spawn(served.serve_with_incoming(TcpListenerStream::new(listener)));
        links.insert(me, GrpcTransport::new(CLUSTER, me, ELECTION_MS, inbound, world));
        ends.insert(me, (closing, real, serving.abort_handle()));
    }
    links.values().for_each(|one| one.set_peers(&peers));
    let ways = links.clone();
    let stop = move |id: RadiantId| {
        let ((closing, real, serving), way) = (ends[&id].clone(), ways[&id].clone());
        let stopping: std::pin::Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
            serving.abort();
            closing.cancel();
            way.close();
            real.end().await;
        });
        stopping
    };
    let transports = links.into_iter().map(|(id, one)| (id, one as Arc<dyn Transport>)).collect();
    Wires { transports, stop: Box::new(stop) }
}
