//! openraft's state machine over the applier.
//!
//! A snapshot taken to compact the log is no file: the applied state is on disk anyway, so it is
//! made durable ([`Applier::persist`]) and its position is the snapshot's. An image is read only when a follower
//! needs one, see [`super::network`].

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::Mutex;
use shardbearer_core::engine::{Applied, Applier, Committed, InstallError, ReceivedSnapshot};
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::LogStore;
use shardbearer_core::storage::StorageError;

use super::network::Transfers;
use super::types::{
    Answer, Entry, LogId, Proposal, Snapshot, SnapshotMeta, StoredMembership, Types, log_id, position,
};
use super::wire;

/// Proposals applied in one commit, at most.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// What openraft carries as a snapshot's data.
#[derive(Clone, Debug)]
pub enum Image {
    /// The state here, at least as new as the snapshot's position.
    Local,
    /// A received image, to be installed.
    Received(ReceivedSnapshot),
}

/// One order's data. Clones are the same data.
#[derive(Clone)]
pub struct OrderMachine {
    pub applier: Arc<dyn Applier>,
    /// The last snapshot that was persisted.
    pub current: Arc<Mutex<Option<SnapshotMeta>>>,
    /// While there are any, the log is kept,
    pub transfers: Transfers,
    /// up to this length.
    pub held_bytes_max: u64,
    pub log: Arc<dyn LogStore>,
    pub order: OrderId,
}

pub fn failed(error: StorageError) -> io::Error {
    match &error {
        StorageError::Corrupt(_) => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
        StorageError::Io(_) => io::Error::other(error.to_string()),
    }
}

/// Position and membership of applied state.
pub fn meta(applied: &Applied) -> Result<SnapshotMeta, io::Error> {
    let membership = wire::decode_stored_membership(applied.note.clone()).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "the stored membership is of an unknown version")
    })?;
    Ok(SnapshotMeta { last_log_id: log_id(applied.position), last_membership: membership })
}

/// An entry as the applier takes it.
pub fn to_apply(entry: Entry, wanted: bool) -> Committed {
    let position = position(&entry.log_id);
    match entry.payload {
        EntryPayload::Blank => Committed { position, proposal: None, wanted, note: None },
        EntryPayload::Normal(Proposal(proposal)) => {
            Committed { position, proposal: Some(proposal), wanted, note: None }
        }
        EntryPayload::Membership(membership) => {
            let stored = StoredMembership::new(Some(entry.log_id), membership);
            let note = Some(wire::encode_stored_membership(&stored));
            Committed { position, proposal: None, wanted, note }
        }
    }
}

impl RaftSnapshotBuilder<Types> for OrderMachine {
    type SnapshotData = Image;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let meta = meta(&self.applier.persist().await.map_err(failed)?)?;
        *self.current.lock() = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: Image::Local })
    }
}

impl RaftStateMachine<Types> for OrderMachine {
    type SnapshotData = Image;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let meta = meta(&self.applier.applied())?;
        Ok((meta.last_log_id, meta.last_membership))
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut ready = entries.ready_chunks(1_024);
        while let Some(chunk) = ready.next().await {
            let (mut committed, mut responders, mut bytes) = (Vec::new(), Vec::new(), 0);
            for entry in chunk {
                let (entry, responder) = entry?;
                let entry = to_apply(entry, responder.is_some());
                bytes += entry.proposal.as_ref().map_or(0, Bytes::len);
                committed.push(entry);
                responders.push(responder);
                if bytes > BATCH_BYTES_MAX {
                    self.apply_batch(std::mem::take(&mut committed), std::mem::take(&mut responders)).await?;
                    bytes = 0;
                }
            }
            self.apply_batch(committed, responders).await?;
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Self> {
        let kept = || self.transfers.any() && self.log.held_bytes(self.order) < self.held_bytes_max;
        if !force && kept() { None } else { Some(self.clone()) }
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, _: &SnapshotMeta, snapshot: Image) -> Result<(), io::Error> {
        let Image::Received(received) = snapshot else {
            return Err(io::Error::other("only a received image can be installed"));
        };
        let meta = meta(&received.applied)?;
        // The library has no word for an image that is refused: the radiant ends, starts with the data that it had, and gets another.
        self.applier.install(received).await.map_err(|error| match error {
            InstallError::Refused(error) | InstallError::Failed(error) => failed(error),
        })?;
        *self.current.lock() = Some(meta);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let current = self.current.lock().clone();
        Ok(current.map(|meta| Snapshot { meta, snapshot: Image::Local }))
    }
}

impl OrderMachine {
    async fn apply_batch(
        &self,
        committed: Vec<Committed>,
        responders: Vec<Option<openraft::storage::ApplyResponder<Types>>>,
    ) -> Result<(), io::Error> {
        let replies = self.applier.apply(committed).await.map_err(failed)?;
        for (reply, responder) in replies.into_iter().zip(responders) {
            if let Some(responder) = responder {
                responder.send(Answer(reply));
            }
        }
        Ok(())
    }
}
