//! Images to members that the log does not reach any more. The library has images of its own, but makes them from entries
//! in memory; ours come from the data, in chunks that are acknowledged and may come twice.

use std::sync::Arc;

use bytes::Bytes;
use shardbearer_core::engine::SnapshotWriter;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::storage::StorageError;
use shardbearer_core::transport::{CallError, Channel, Frame};
use tokio::sync::oneshot;

use super::Shared;
use super::wire;
use crate::engine::pieces::{PIECE_DEADLINE, Piece, Pieces};

/// What the receiver says.
const TAKEN: u8 = 1;
const REFUSED: u8 = 0;

/// The image on its way in, and the transfer that was installed last, because its answer may have been lost.
#[derive(Default)]
pub struct Images {
    current: Option<Receiving>,
    installed: Option<u64>,
}

struct Receiving {
    transfer: u64,
    next: u64,
    writer: Box<dyn SnapshotWriter>,
}

/// Sends an image to a member unless one is on its way already.
pub fn start(shared: &Arc<Shared>, to: RadiantId) {
    if !shared.sending.lock().insert(to) {
        return;
    }
    let shared = shared.clone();
    shared.context.world.clone().spawn("omnipaxos-image", async move {
        let sent = shared.closing.run_until_cancelled(send(&shared, to)).await;
        if let Some(Err(why)) = sent {
            tracing::debug!(order = %shared.context.order, %to, why, "an image did not arrive");
        }
        shared.sending.lock().remove(&to);
    });
}

async fn send(shared: &Shared, to: RadiantId) -> Result<(), String> {
    let failed = |error: StorageError| error.to_string();
    let mut pieces = Pieces::of(shared.context.applier.as_ref()).await.map_err(failed)?;
    let transfer = shared.context.world.id() as u64; // any number that two transfers hardly share
    while let Some(piece) = pieces.next(&shared.context.world).await.map_err(failed)? {
        let (attempts, Piece { number, last, bytes }) = (piece.attempts(), piece);
        let frame = wire::encode_frame(&wire::Frame::Chunk { transfer, number, last, bytes });
        deliver(shared, to, frame, attempts).await?;
    }
    Ok(())
}

async fn deliver(shared: &Shared, to: RadiantId, body: Bytes, attempts: usize) -> Result<(), String> {
    for _ in 0..attempts {
        let frame = Frame { channel: Channel::Engine(shared.context.order), body: body.clone() };
        match shared.context.transport.call(to, frame, PIECE_DEADLINE).await {
            Ok(answer) if answer.first() == Some(&TAKEN) => return Ok(()),
            Ok(_) => return Err("it was refused".into()),
            Err(CallError::Unknown { .. }) => {}
            Err(error @ CallError::Unreachable { .. }) => return Err(error.to_string()),
        }
    }
    Err("no answer".into())
}

/// Takes a chunk, and says whether.
pub async fn receive(shared: &Shared, transfer: u64, number: u64, last: bool, bytes: Bytes) -> Bytes {
    let taken = take(shared, transfer, number, last, bytes).await;
    if let Err(why) = &taken {
        tracing::debug!(order = %shared.context.order, why, "a piece of an image is refused");
    }
    Bytes::copy_from_slice(&[if taken.is_ok() { TAKEN } else { REFUSED }])
}

/// One transfer at a time: a new one takes over, because its sender knows nothing of the old one.
async fn take(shared: &Shared, transfer: u64, number: u64, last: bool, bytes: Bytes) -> Result<(), String> {
    // An install takes longer than its sender waits before it asks again. Once that one has certainly left, so does this.
    let images = tokio::time::timeout(2 * PIECE_DEADLINE, shared.images.lock()).await;
    let mut images = images.map_err(|_| "another piece is being written or installed")?;
    if images.installed == Some(transfer) {
        return Ok(());
    }
    if images.current.as_ref().is_some_and(|current| current.transfer == transfer && number < current.next) {
        return Ok(());
    }
    let mut current = match images.current.take() {
        _ if number == 0 => {
            let writer = shared.context.applier.receive_snapshot().await;
            Receiving { transfer, next: 0, writer: writer.map_err(|error| error.to_string())? }
        }
        Some(current) if current.transfer == transfer && current.next == number => current,
        other => {
            images.current = other;
            return Err(format!("chunk {number} of an unknown transfer"));
        }
    };
    let write = shared.context.world.block(move || {
        let written = current.writer.write(&bytes);
        current.next += 1;
        (current, written)
    });
    let (current, written) = write.await.ok_or("writing the image failed")?;
    written.map_err(|error| error.to_string())?;
    if !last {
        images.current = Some(current);
        return Ok(());
    }
    let finish = shared.context.world.block(move || current.writer.finish());
    let received = finish.await.ok_or("finishing the image failed")?.map_err(|error| error.to_string())?;
    let (done, outcome) = oneshot::channel();
    shared.installs.send((received, done)).await.map_err(|_| "closing".to_owned())?;
    outcome.await.map_err(|_| "closing".to_owned())??;
    images.installed = Some(transfer);
    Ok(())
}
