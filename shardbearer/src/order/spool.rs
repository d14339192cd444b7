//! An image copied into a file before it is sent, for storage engines whose views hold commits up: reading
//! the data takes as long as the disk needs, but sending them as long as the receiver likes.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use bytes::Bytes;
use shardbearer_core::engine::{Applied, SnapshotReader, SnapshotWriter};
use shardbearer_core::storage::StorageError;

use super::received::ImageWriter;
use super::snapshot::ImageReader;

/// Bytes that are handed out at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// A copied image. Its file goes with it.
pub(super) struct Spool {
    applied: Applied,
    file: File,
    _named: ImageWriter,
}

impl Spool {
    /// Copies an image into the folder. Blocks for the disk.
    pub(super) fn of(mut image: ImageReader, folder: &Path) -> Result<Spool, StorageError> {
        let mut writer = ImageWriter::create(folder)?;
        while let Some(chunk) = image.next()? {
            writer.write(&chunk)?;
        }
        let mut file = writer.reading().map_err(failed)?;
        file.rewind().map_err(failed)?;
        Ok(Spool { applied: image.applied(), file, _named: writer })
    }
}

impl SnapshotReader for Spool {
    fn applied(&self) -> Applied {
        self.applied.clone()
    }

    fn next(&mut self) -> Result<Option<Bytes>, StorageError> {
        let mut chunk = Vec::new();
        Read::by_ref(&mut self.file).take(CHUNK_BYTES).read_to_end(&mut chunk).map_err(failed)?;
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()).map(Bytes::from))
    }
}

fn failed(error: std::io::Error) -> StorageError {
    StorageError::Io(format!("a copied image cannot be read: {error}"))
}
