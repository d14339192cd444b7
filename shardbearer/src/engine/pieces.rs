//! An image in the pieces in which it is sent, each read where that may wait for the disk.

use std::time::Duration;

use bytes::Bytes;
use shardbearer_core::engine::{Applied, Applier, SnapshotReader};
use shardbearer_core::storage::StorageError;
use shardbearer_core::world::World;

/// A piece that is not acknowledged by then is sent again: it may be lost, and somebody waits for the image. The receiver
/// knows it by its number.
pub(super) const PIECE_DEADLINE: Duration = Duration::from_secs(2);

/// How often. The last is acknowledged when the image is installed, which takes as long as writing the data: ten minutes.
const ATTEMPTS: usize = 5;
const LAST_ATTEMPTS: usize = 300;

/// A piece of an image.
pub(super) struct Piece {
    /// From zero.
    pub(super) number: u64,
    /// Whether none follows.
    pub(super) last: bool,
    pub(super) bytes: Bytes,
}

impl Piece {
    /// How often it is sent at most.
    pub(super) fn attempts(&self) -> usize {
        if self.last { LAST_ATTEMPTS } else { ATTEMPTS }
    }
}

/// An image that is being sent.
pub(super) struct Pieces {
    applied: Applied,
    /// Gone after the last piece.
    reader: Option<Box<dyn SnapshotReader>>,
    /// One is read ahead, to know which is the last.
    ahead: Option<Bytes>,
    next: u64,
}

impl Pieces {
    /// Takes an image of the data as they are now.
    pub(super) async fn of(applier: &dyn Applier) -> Result<Pieces, StorageError> {
        let reader = applier.snapshot().await?;
        Ok(Pieces { applied: reader.applied(), reader: Some(reader), ahead: None, next: 0 })
    }

    /// What the image is of.
    pub(super) fn applied(&self) -> &Applied {
        &self.applied
    }

    /// The next piece; `None` after the last. There is at least one.
    pub(super) async fn next(&mut self, world: &World) -> Result<Option<Piece>, StorageError> {
        let Some(mut reader) = self.reader.take() else { return Ok(None) };
        let ahead = self.ahead.take();
        let read = world.block(move || {
            let bytes = match ahead {
                Some(bytes) => Some(bytes),
                None => reader.next()?,
            };
            let bytes =
                bytes.ok_or_else(|| StorageError::Corrupt("an image without a single piece".into()))?;
            Ok((bytes, reader.next()?, reader))
        });
        let read = read.await.unwrap_or_else(|| Err(StorageError::Io("reading an image panicked".into())));
        let (bytes, following, reader) = read?;
        let (number, last) = (self.next, following.is_none());
        self.next += 1;
        if !last {
            (self.reader, self.ahead) = (Some(reader), following);
        }
        Ok(Some(Piece { number, last, bytes }))
    }
}
