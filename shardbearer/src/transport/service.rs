//! The receiving side: streams of peers, and beacons of radiants that may have no cluster yet.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use shardbearer_core::error::RequestError;
use shardbearer_core::ids::{ClusterId, RadiantId};
use shardbearer_core::limits;
use shardbearer_core::transport::{Frame, Inbound};
use shardbearer_core::world::World;
use shardbearer_proto::pb;
use shardbearer_proto::pb::peer_frame::Kind;
use shardbearer_proto::pb::peer_server::Peer;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{VERSION, channel_from_wire};

/// Frames of one peer being worked on at once; more wait in the stream, which slows the peer down.
const IN_FLIGHT_MAX: usize = 4_096;

/// How long a stream may be open before it says whose it is.
const GREETING_DEADLINE: Duration = Duration::from_secs(5);

/// Who this radiant is, once it belongs to a cluster.
pub struct Membership {
    /// The cluster.
    pub cluster: ClusterId,
    /// This radiant.
    pub me: RadiantId,
    /// Its election timeout in milliseconds.
    pub election_ms: u64,
    /// Who takes the frames.
    pub inbound: Arc<dyn Inbound>,
}

/// What answers radiants outside a cluster, and those that arrive.
#[async_trait]
pub trait Stranger: Send + Sync {
    /// A beacon's bytes; the answer's bytes.
    async fn beacon(&self, body: Bytes) -> Result<Bytes, RequestError>;

    /// A request to the control order by somebody who has no id yet.
    async fn control(&self, request: pb::ControlRequest) -> pb::ControlResponse;
}

/// The peer service of one radiant.
#[derive(Clone)]
pub struct PeerService {
    membership: Arc<OnceLock<Membership>>,
    stranger: Arc<dyn Stranger>,
    world: World,
    closing: CancellationToken,
}

impl PeerService {
    /// A service that answers beacons; streams are taken once `membership` is set, and end with `closing`.
    pub fn new(
        membership: Arc<OnceLock<Membership>>,
        stranger: Arc<dyn Stranger>,
        world: World,
        closing: CancellationToken,
    ) -> Self {
        PeerService { membership, stranger, world, closing }
    }

    /// Whether the greeting is meant for this radiant of this cluster.
    #[allow(clippy::result_large_err)] // a Status is what tonic wants
    fn check(&self, hello: &pb::PeerHello) -> Result<RadiantId, Status> {
        let Some(membership) = self.membership.get() else {
            return Err(Status::unavailable("this radiant belongs to no cluster yet"));
        };
        let cluster = ClusterId::from_bytes(&hello.cluster).unwrap_or(ClusterId::NONE);
        if cluster != membership.cluster {
            return Err(Status::failed_precondition(format!(
                "this radiant belongs to cluster {}, the caller to cluster {cluster}; check the addresses",
                membership.cluster
            )));
        }
        if hello.to != membership.me.0 {
            return Err(Status::failed_precondition(format!(
                "this is radiant {}, the caller wants radiant {}; check the advertised addresses",
                membership.me, hello.to
            )));
        }
        if hello.version != VERSION {
            return Err(Status::failed_precondition(format!(
                "this radiant speaks version {VERSION} of the peer protocol, the caller version {}",
                hello.version
            )));
        }
        if hello.election_ms != membership.election_ms {
            return Err(Status::failed_precondition(format!(
                "this radiant has [consensus] election_timeout_ms = {}, the caller {}; all radiants need the same, because \
                 a herald relies on how long the others wait: change it while all are stopped",
                membership.election_ms, hello.election_ms
            )));
        }
        Ok(RadiantId(hello.from))
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    type LinkStream = Pin<Box<dyn Stream<Item = Result<pb::PeerFrames, Status>> + Send>>;

    async fn link(
        &self,
        request: Request<Streaming<pb::PeerFrames>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(GREETING_DEADLINE, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no greeting"))??;
        let hello = first.and_then(|frames| frames.hello);
        let hello = hello.ok_or_else(|| Status::invalid_argument("the first message has no greeting"))?;
        let from = self.check(&hello)?;
        let Some(membership) = self.membership.get() else { return Err(Status::unavailable("no cluster")) };
        let (answers, mut gathered) = mpsc::channel::<pb::PeerFrame>(IN_FLIGHT_MAX);
        let (outgoing, stream) = mpsc::channel(1);
        // Answers that are ready at the same time share a message.
        let closing = self.closing.clone();
        self.world.spawn("peer-answers", async move {
            let mut frames = Vec::new();
            // With this task the stream ends, and with it the connection.
            while closing.run_until_cancelled(gathered.recv_many(&mut frames, 512)).await > Some(0) {
                for part in split(std::mem::take(&mut frames)) {
                    if outgoing.send(Ok(pb::PeerFrames { hello: None, frames: part })).await.is_err() {
                        return;
                    }
                }
            }
        });
        let inbound = membership.inbound.clone();
        let world = self.world.clone();
        self.world.spawn("peer-requests", async move {
            let room = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
            while let Some(Ok(frames)) = incoming.next().await {
                for frame in frames.frames {
                    let Ok(permit) = room.clone().acquire_owned().await else { return };
                    let (inbound, answers) = (inbound.clone(), answers.clone());
                    world.spawn("peer-frame", async move {
                        handle(from, frame, inbound.as_ref(), &answers).await;
                        drop(permit);
                    });
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn beacon(
        &self,
        request: Request<pb::BeaconRequest>,
    ) -> Result<Response<pb::BeaconResponse>, Status> {
        let body = self.stranger.beacon(request.into_inner().body).await;
        let body = body.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(pb::BeaconResponse { body }))
    }

    async fn control(
        &self,
        request: Request<pb::ControlRequest>,
    ) -> Result<Response<pb::ControlResponse>, Status> {
        Ok(Response::new(self.stranger.control(request.into_inner()).await))
    }
}

/// Cuts answers into messages that the other side accepts.
fn split(frames: Vec<pb::PeerFrame>) -> Vec<Vec<pb::PeerFrame>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = 0;
    for frame in frames {
        bytes += frame.body.len();
        if bytes > limits::MESSAGE_BYTES_MAX / 4 {
            parts.push(Vec::new());
            bytes = frame.body.len();
        }
        if let Some(last) = parts.last_mut() {
            last.push(frame);
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

async fn handle(
    from: RadiantId,
    frame: pb::PeerFrame,
    inbound: &dyn Inbound,
    answers: &mpsc::Sender<pb::PeerFrame>,
) {
    let kind = Kind::try_from(frame.kind);
    let answer = match channel_from_wire(frame.channel, frame.order, frame.generation) {
        Some(channel) => inbound.receive(from, Frame { channel, body: frame.body }).await,
        None => None,
    };
    if kind != Ok(Kind::Call) {
        return;
    }
    let (kind, body) = match answer {
        Some(body) => (Kind::Answer, body),
        None => (Kind::Declined, Bytes::new()),
    };
    let answer = pb::PeerFrame { kind: kind.into(), call: frame.call, body, ..pb::PeerFrame::default() };
    let _ = answers.send(answer).await;
}
