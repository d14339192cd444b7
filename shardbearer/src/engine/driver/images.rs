//! Snapshots between members: read, sent in acknowledged chunks, written aside, installed.
//!
//! The sender's data go on meanwhile; the image is of the moment at which it was begun, and all of it is committed.

use std::time::Duration;

use shardbearer_core::engine::{EngineContext, ReceivedSnapshot, SnapshotWriter};
use shardbearer_core::ids::RadiantId;
use shardbearer_core::storage::StorageError;
use shardbearer_core::transport::{Channel, Frame};

use super::frame::{self, Chunk, TAKEN};
use crate::engine::pieces::{Piece, Pieces};

/// For one chunk to be written.
const CHUNK_MAX: Duration = Duration::from_secs(10);
/// For the last one, which installs: as long as writing the data takes.
const INSTALL_MAX: Duration = Duration::from_secs(600);

/// Sends an image to a peer; returns when it is installed there.
pub async fn send(context: &EngineContext, to: RadiantId) -> Result<(), String> {
    let failed = |error: StorageError| error.to_string();
    let mut pieces = Pieces::of(context.applier.as_ref()).await.map_err(failed)?;
    let transfer = context.world.id() as u64; // any number that two transfers hardly share
    while let Some(Piece { number, last, bytes }) = pieces.next(&context.world).await.map_err(failed)? {
        let body = frame::encode_chunk(&Chunk { transfer, number, last, bytes });
        let frame = Frame { channel: Channel::Engine(context.order), body };
        let deadline = if last { INSTALL_MAX } else { CHUNK_MAX };
        let answer = context.transport.call(to, frame, deadline).await.map_err(|error| error.to_string())?;
        if answer != TAKEN {
            return Err(format!("chunk {number} was not taken"));
        }
    }
    Ok(())
}

/// The image on its way in, if any.
#[derive(Default)]
pub struct Receiving {
    current: tokio::sync::Mutex<Option<Incoming>>,
}

struct Incoming {
    from: RadiantId,
    transfer: u64,
    next: u64,
    writer: Box<dyn SnapshotWriter>,
}

impl Receiving {
    /// Takes a chunk; returns the image after the last. One transfer at a time: a new one takes over, because its
    /// sender knows nothing of the old one.
    pub async fn take(
        &self,
        context: &EngineContext,
        from: RadiantId,
        chunk: Chunk,
    ) -> Result<Option<ReceivedSnapshot>, String> {
        let mut slot = self.current.lock().await;
        let mut incoming = match slot.take() {
            _ if chunk.number == 0 => {
                let writer = context.applier.receive_snapshot().await.map_err(|error| error.to_string())?;
                Incoming { from, transfer: chunk.transfer, next: 0, writer }
            }
            Some(one) if one.from == from && one.transfer == chunk.transfer && one.next == chunk.number => {
                one
            }
            other => {
                *slot = other;
                return Err(format!("chunk {} of an unknown transfer", chunk.number));
            }
        };
        incoming.next += 1;
        let last = chunk.last;
        let written = context.world.block(move || {
            incoming.writer.write(&chunk.bytes)?;
            if last {
                incoming.writer.finish().map(Written::Whole)
            } else {
                Ok::<_, StorageError>(Written::Part(incoming))
            }
        });
        match written.await.ok_or("writing it panicked")?.map_err(|error| error.to_string())? {
            Written::Whole(image) => Ok(Some(image)),
            Written::Part(incoming) => {
                *slot = Some(incoming);
                Ok(None)
            }
        }
    }
}

enum Written {
    Part(Incoming),
    Whole(ReceivedSnapshot),
}
