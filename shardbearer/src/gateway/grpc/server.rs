//! All gRPC services of a radiant on one listener.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use shardbearer_core::limits;
use shardbearer_core::world::World;
use shardbearer_proto::DESCRIPTORS;
use shardbearer_proto::pb::admin_server::AdminServer;
use shardbearer_proto::pb::kv_server::KvServer;
use shardbearer_proto::pb::peer_server::PeerServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

use super::admin::AdminService;
use super::kv::KvService;
use crate::gateway::listen::{Door, Greeting};
use crate::gateway::{self, Entrance};
use crate::telemetry::meter::Meter;
use crate::transport::PeerService;

/// Streams of one connection at once; a client needs one, a hundred unary callers a hundred.
const STREAMS_MAX: u32 = 1_024;

/// Bytes of headers of one request.
const HEADER_BYTES_MAX: u32 = 16 << 10;

/// Silence after which a connection is probed, and then given up.
const PROBE: Duration = Duration::from_secs(10);

/// Bytes of HTTP/2's preface, from which on silence is probed.
const PREFACE_BYTES: usize = 24;

/// What may be chosen.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This radiant's name, as a label of metrics.
    pub radiant: String,
    /// Connections at once, those of peers included.
    pub connections_max: usize,
    /// How long a connection may take to begin with HTTP/2.
    pub preface_within: Duration,
    /// How long requests under way may take to end once the door closes.
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            radiant: String::new(),
            connections_max: 4_096,
            preface_within: PROBE,
            grace: Duration::from_secs(2),
        }
    }
}

/// Serves until `closing` is cancelled and what was under way has ended or the grace is over. Health says "not
/// serving" before the entrance is open and while closing; peers are served all the time. Connections end at the
/// latest when this future is dropped.
pub async fn serve(
    listener: TcpListener,
    entrance: Entrance,
    peers: Option<PeerService>,
    settings: Settings,
    world: World,
    closing: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let meter = Arc::new(Meter::new(&settings.radiant, "grpc", world));
    let cut = CancellationToken::new();
    let _cut_when_dropped = cut.clone().drop_guard();
    let kv = KvService { entrance: entrance.clone(), meter: meter.clone(), closing: closing.clone() };
    let (reporter, health) = health_reporter();
    say(&reporter, ServingStatus::NotServing).await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors were compiled together with this program");
    let limited = |peers| {
        PeerServer::new(peers)
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
    };
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(PROBE))
        .http2_keepalive_timeout(Some(PROBE))
        .http2_adaptive_window(Some(true))
        .add_service(
            KvServer::new(kv)
                .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
                .max_encoding_message_size(limits::MESSAGE_BYTES_MAX),
        )
        .add_service(AdminServer::new(AdminService { entrance: entrance.clone() }))
        .add_service(health)
        .add_service(reflection)
        .add_optional_service(peers.map(limited));
    let greeting = Greeting { bytes: PREFACE_BYTES, within: settings.preface_within };
    let door = Door::new(listener, settings.connections_max, Some(greeting), meter, cut.clone());
    let incoming = futures_util::stream::unfold(door, |door| async move {
        Some((Ok::<_, Infallible>(door.accept().await), door))
    });
    let serving = server.serve_with_incoming_shutdown(incoming, closing.clone().cancelled_owned());
    let life = async {
        gateway::opened(&entrance, &closing).await;
        if !closing.is_cancelled() {
            say(&reporter, ServingStatus::Serving).await;
        }
        closing.cancelled().await;
        say(&reporter, ServingStatus::NotServing).await;
        tokio::time::sleep(settings.grace).await;
        cut.cancel();
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        served = serving => served,
        never = life => match never {},
    }
}

/// The same of the radiant as a whole and of each service for clients.
async fn say(reporter: &HealthReporter, status: ServingStatus) {
    for service in ["", name_of::<KvServer<KvService>>(), name_of::<AdminServer<AdminService>>()] {
        reporter.set_service_status(service, status).await;
    }
}

fn name_of<S: NamedService>() -> &'static str {
    S::NAME
}
