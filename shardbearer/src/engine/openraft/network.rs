//! openraft's messages over the radiant's transport.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use openraft::base::{BoxFuture, BoxStream};
use openraft::error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend};
use shardbearer_core::engine::Applier;
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::storage::StorageError;
use shardbearer_core::transport::{CallError, Channel, Frame, Transport};
use shardbearer_core::world::World;

use super::machine::Image;
use super::notices;
use super::silence::Silence;
use super::types::{Snapshot, Types, Vote};
use super::wire::{self, Request, Response};
use crate::engine::pieces::{PIECE_DEADLINE, Piece, Pieces};

/// An append that carries entries waits for the follower's disk; openraft bounds a heartbeat itself.
const APPEND_DEADLINE: Duration = Duration::from_secs(5);

/// How long to leave a member alone that cannot be reached.
const BACKOFF: Duration = Duration::from_millis(100);

/// Images on their way to members that are far behind. Meanwhile the log is not compacted: without what it gained since
/// the image was begun, the member would be as far behind as before, and under a steady load for ever.
#[derive(Clone, Default)]
pub struct Transfers(Arc<AtomicUsize>);

/// A transfer until it is dropped.
pub struct Transfer(Arc<AtomicUsize>);

impl Transfers {
    /// One more.
    pub fn begin(&self) -> Transfer {
        self.0.fetch_add(1, Ordering::AcqRel);
        Transfer(self.0.clone())
    }

    /// Whether there is any.
    pub fn any(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Makes clients for the members of one order.
#[derive(Clone)]
pub struct Network {
    pub order: OrderId,
    pub transport: Arc<dyn Transport>,
    pub applier: Arc<dyn Applier>,
    pub world: World,
    pub transfers: Transfers,
    pub silence: Silence,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _: &openraft::impls::EmptyNode) -> Peer {
        Peer { network: self.clone(), to: RadiantId(target) }
    }
}

type Appended = Result<StreamAppendResult<Types>, RPCError<Types>>;
type Appending<'s> = BoxFuture<'s, Result<BoxStream<'s, Appended>, RPCError<Types>>>;

/// A client for one member.
pub struct Peer {
    network: Network,
    to: RadiantId,
}

fn confused() -> RPCError<Types> {
    RPCError::Network(NetworkError::new(&AnyError::error("an answer that makes no sense")))
}

impl Peer {
    async fn call(&self, request: &Request, deadline: Duration) -> Result<Response, RPCError<Types>> {
        let frame =
            Frame { channel: Channel::Engine(self.network.order), body: wire::encode_request(request) };
        let answer: Result<Bytes, CallError> = self.network.transport.call(self.to, frame, deadline).await;
        match answer {
            Ok(bytes) => match wire::decode_response(bytes) {
                Some(Response::Declined) => {
                    Err(RPCError::Unreachable(Unreachable::new(&AnyError::error("declined for now"))))
                }
                Some(response) => {
                    self.network.silence.answered(self.to);
                    Ok(response)
                }
                None => Err(confused()),
            },
            Err(error @ CallError::Unreachable { .. }) => {
                Err(RPCError::Unreachable(Unreachable::new(&error)))
            }
            Err(error @ CallError::Unknown { .. }) => Err(RPCError::Network(NetworkError::new(&error))),
        }
    }

    /// Calls until there is an answer; for requests that may arrive twice.
    async fn call_again(
        &self,
        request: &Request,
        deadline: Duration,
        attempts: usize,
    ) -> Result<Response, RPCError<Types>> {
        for _ in 1..attempts {
            match self.call(request, deadline).await {
                Err(RPCError::Network(_)) => {}
                other => return other,
            }
        }
        self.call(request, deadline).await
    }

    /// Sends a fresh image in chunks, each acknowledged. It may be newer than the snapshot openraft
    /// asks for: all of it is committed, so the follower ends up ahead of what the sender
    /// believes, and appends that follow match what it has.
    async fn send_image(&self, vote: &Vote) -> Result<Vote, RPCError<Types>> {
        let unreadable = |why: String| RPCError::Network(NetworkError::new(&AnyError::error(why)));
        let _transfer = self.network.transfers.begin();
        let failed = |error: StorageError| unreadable(error.to_string());
        let mut pieces = Pieces::of(self.network.applier.as_ref()).await.map_err(failed)?;
        if pieces.applied().position.term > vote.leader_id.term {
            // Deposed meanwhile. A follower that has not heard of it would take an image of a later term for damage.
            return Err(unreadable("the image is of a later term than its sender".into()));
        }
        let transfer = self.network.world.id() as u64; // any number that two transfers hardly share
        while let Some(piece) = pieces.next(&self.network.world).await.map_err(failed)? {
            let (attempts, Piece { number, last, bytes }) = (piece.attempts(), piece);
            let request = Request::Chunk { vote: *vote, transfer, number, last, bytes };
            match self.call_again(&request, PIECE_DEADLINE, attempts).await? {
                Response::Chunk(answer) if last || answer > *vote => return Ok(answer),
                Response::Chunk(_) => {}
                Response::ChunkRefused(why) => return Err(unreadable(why)),
                _ => return Err(confused()),
            }
        }
        Err(unreadable("an image without a last piece".into()))
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = Image;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        if self.network.silence.is_kept() {
            let why = AnyError::error("no quorum answers, and others are to elect");
            return Err(RPCError::Unreachable(Unreachable::new(&why)));
        }
        let deadline = if rpc.entries.is_empty() { option.soft_ttl() } else { APPEND_DEADLINE };
        match self.call(&Request::Append(rpc), deadline).await? {
            Response::Append(response) => Ok(response),
            _ => Err(confused()),
        }
    }

    fn stream_append<'s, S>(&'s mut self, input: S, option: RPCOption) -> Appending<'s>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        stream_append_sequential(self, notices::worth_sending(input), option)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.call(&Request::Vote(rpc), option.soft_ttl()).await? {
            Response::Vote(response) => Ok(response),
            _ => Err(confused()),
        }
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.call(&Request::PreVote(rpc), option.soft_ttl()).await? {
            Response::Vote(response) => Ok(response),
            _ => Err(confused()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        _: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_image(&vote) => Ok(SnapshotResponse::new(sent?)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let transfer = Request::Transfer {
            from: *request.from_leader(),
            to: *request.to_node_id(),
            last: request.last_log_id().copied(),
        };
        match self.call(&transfer, option.soft_ttl()).await? {
            Response::Transfer(true) => Ok(Ok(())),
            // The receiver's reason matters to nobody: the lead stays where it is and may be offered again.
            Response::Transfer(false) => {
                Err(RPCError::Network(NetworkError::new(&AnyError::error("not accepted"))))
            }
            _ => Err(confused()),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(BACKOFF)))
    }
}
