//! What an order does with the messages of its other members.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::{AppendEntriesResponse, TransferLeaderRequest};
use shardbearer_core::engine::SnapshotWriter;

use super::Openraft;
use super::machine::{Image, meta};
use super::types::{Snapshot, Vote};
use super::wire::{Request, Response};
use crate::engine::pieces::PIECE_DEADLINE;

/// An image on its way in.
pub(super) struct Receiving {
    transfer: u64,
    next: u64,
    writer: Box<dyn SnapshotWriter>,
}

/// What is known of images: the one on its way, and the transfer that was installed last with what it was
/// answered, because that answer may have been lost.
#[derive(Default)]
pub(super) struct Images {
    current: Option<Receiving>,
    installed: Option<(u64, Vote)>,
}

impl Openraft {
    pub(super) async fn answer(&self, request: Request) -> Response {
        match request {
            Request::Append(append) => {
                // Now, not once it is on disk: a member with a slow one has no reason to stand. Nobody's vote depends on this.
                if append.vote >= self.raft.metrics().borrow_watched().vote {
                    self.heard();
                }
                match self.raft.append_entries(append).await {
                    Ok(response) => {
                        if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
                            self.heard();
                        }
                        Response::Append(response)
                    }
                    Err(_) => Response::Declined,
                }
            }
            Request::Probe if self.closed.load(Ordering::Acquire) => Response::Declined,
            Request::Probe => Response::Here,
            // Silence, not a refusal: a refusal would carry a vote, and this member's may be stale.
            Request::Vote(_) | Request::PreVote(_) if !self.may_vote() => Response::Declined,
            Request::Vote(vote) => {
                self.asked_term.fetch_max(vote.vote.leader_id.term, Ordering::SeqCst);
                match self.raft.vote(vote).await {
                    Ok(response) => {
                        if response.vote_granted {
                            self.heard(); // of who is going to lead
                        }
                        Response::Vote(response)
                    }
                    Err(_) => Response::Declined,
                }
            }
            Request::PreVote(vote) => match self.raft.pre_vote(vote).await {
                Ok(response) => Response::Vote(response),
                Err(_) => Response::Declined,
            },
            Request::Transfer { from, to, last } => {
                let request = TransferLeaderRequest::new(from, to, last);
                let accepted =
                    self.may_vote() && matches!(self.raft.handle_transfer_leader(request).await, Ok(Ok(())));
                Response::Transfer(accepted)
            }
            Request::Chunk { vote, transfer, number, last, bytes } => {
                match self.chunk(vote, transfer, number, last, bytes).await {
                    Ok(vote) => Response::Chunk(vote),
                    Err(why) => Response::ChunkRefused(why),
                }
            }
        }
    }

    /// Takes a chunk; installs the image after the last. One transfer at a time: a new one takes over,
    /// because its sender knows nothing of the old one. A chunk that comes again is answered again.
    async fn chunk(
        &self,
        vote: Vote,
        transfer: u64,
        number: u64,
        last: bool,
        bytes: Bytes,
    ) -> Result<Vote, String> {
        let known = self.raft.metrics().borrow_watched().vote;
        if known > vote {
            return Ok(known); // so that a deposed sender stops, and keeps no image of its successor's from arriving
        }
        // An install takes longer than its sender waits before it asks again. Once that one has certainly left, so does this.
        let images = tokio::time::timeout(2 * PIECE_DEADLINE, self.receiving.lock()).await;
        let mut images = images.map_err(|_| "another piece is being written or installed")?;
        match (&images.current, images.installed) {
            (_, Some((installed, answer))) if installed == transfer => return Ok(answer),
            (Some(current), _) if current.transfer == transfer && number < current.next => return Ok(vote),
            _ => {}
        }
        let mut current = match images.current.take() {
            _ if number == 0 => {
                let writer =
                    self.context.applier.receive_snapshot().await.map_err(|error| error.to_string())?;
                Receiving { transfer, next: 0, writer }
            }
            Some(current) if current.transfer == transfer && current.next == number => current,
            other => {
                images.current = other;
                return Err(format!("chunk {number} of an unknown transfer"));
            }
        };
        let world = &self.context.world;
        let written = world.block(move || {
            let written = current.writer.write(&bytes);
            current.next += 1;
            (current, written)
        });
        let (current, written) = written.await.ok_or("writing the image failed")?;
        written.map_err(|error| error.to_string())?;
        if !last {
            images.current = Some(current);
            return Ok(vote);
        }
        let finished = world.block(move || current.writer.finish()).await;
        let received = finished.ok_or("finishing the image failed")?.map_err(|error| error.to_string())?;
        let meta = meta(&received.applied).map_err(|error| error.to_string())?;
        let snapshot = Snapshot { meta, snapshot: Image::Received(received) };
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        let answer = installed.map_err(|error| error.to_string())?.vote;
        images.installed = Some((transfer, answer));
        Ok(answer)
    }
}
