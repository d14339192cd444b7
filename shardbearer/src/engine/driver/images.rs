//! Snapshots between members: read, sent in acknowledged chunks that may come twice, written aside, installed.
//!
//! The sender's data go on meanwhile; the image is of the moment at which it was begun, and all of it is committed.

use bytes::Bytes;
use shardbearer_core::engine::{EngineContext, ReceivedSnapshot, SnapshotWriter};
use shardbearer_core::ids::RadiantId;
use shardbearer_core::storage::StorageError;
use shardbearer_core::transport::{CallError, Channel, Frame};
use tokio::sync::oneshot;

use super::frame::{self, Chunk, TAKEN};
use super::{Mail, Shared};
use crate::engine::pieces::{PIECE_DEADLINE, Piece, Pieces};

/// Sends an image to a peer; returns when it is installed there.
pub async fn send(context: &EngineContext, to: RadiantId) -> Result<(), String> {
    let failed = |error: StorageError| error.to_string();
    let mut pieces = Pieces::of(context.applier.as_ref()).await.map_err(failed)?;
    let transfer = context.world.id() as u64; // any number that two transfers hardly share
    while let Some(piece) = pieces.next(&context.world).await.map_err(failed)? {
        let (attempts, Piece { number, last, bytes }) = (piece.attempts(), piece);
        let body = frame::encode_chunk(&Chunk { transfer, number, last, bytes });
        deliver(context, to, body, attempts).await.map_err(|why| format!("chunk {number}: {why}"))?;
    }
    Ok(())
}

async fn deliver(context: &EngineContext, to: RadiantId, body: Bytes, attempts: usize) -> Result<(), String> {
    for _ in 0..attempts {
        let frame = Frame { channel: Channel::Engine(context.order), body: body.clone() };
        match context.transport.call(to, frame, PIECE_DEADLINE).await {
            Ok(answer) if answer == TAKEN => return Ok(()),
            Ok(_) => return Err("it was not taken".into()),
            Err(CallError::Unknown { .. }) => {}
            Err(error @ CallError::Unreachable { .. }) => return Err(error.to_string()),
        }
    }
    Err("no answer".into())
}

/// The image on its way in, and the transfer that was installed last, because its answer may have been lost.
#[derive(Default)]
pub struct Receiving(tokio::sync::Mutex<Images>);

#[derive(Default)]
struct Images {
    current: Option<Incoming>,
    installed: Option<(RadiantId, u64)>,
}

struct Incoming {
    transfer: (RadiantId, u64),
    next: u64,
    writer: Box<dyn SnapshotWriter>,
}

/// Takes a chunk, and with the last one the image. One transfer at a time: a new one takes over, because its
/// sender knows nothing of the old one.
pub(super) async fn take<M>(shared: &Shared<M>, from: RadiantId, chunk: Chunk) -> Result<(), String> {
    // An install takes longer than its sender waits before it asks again. Once that one has certainly left, so does this.
    let images = tokio::time::timeout(2 * PIECE_DEADLINE, shared.receiving.0.lock()).await;
    let mut images = images.map_err(|_| "another chunk is being written or installed")?;
    let transfer = (from, chunk.transfer);
    let has = |current: &Incoming| current.transfer == transfer && chunk.number < current.next;
    if images.installed == Some(transfer) || images.current.as_ref().is_some_and(has) {
        return Ok(());
    }
    let context = &shared.context;
    let mut incoming = match images.current.take() {
        _ if chunk.number == 0 => {
            let writer = context.applier.receive_snapshot().await.map_err(|error| error.to_string())?;
            Incoming { transfer, next: 0, writer }
        }
        Some(one) if one.transfer == transfer && one.next == chunk.number => one,
        other => {
            images.current = other;
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
        Written::Part(incoming) => images.current = Some(incoming),
        Written::Whole(image) => {
            let (done, installed) = oneshot::channel();
            let mail = Mail::Image { from, image, done };
            shared.mail.send(mail).await.map_err(|_| "closing")?;
            installed.await.map_err(|_| "it was not installed")?;
            images.installed = Some(transfer);
        }
    }
    Ok(())
}

enum Written {
    Part(Incoming),
    Whole(ReceivedSnapshot),
}
