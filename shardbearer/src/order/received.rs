//! Files of received images, beside the live data: one that still comes is `N.partial`, a whole one that waits or is being
//! installed `N.image`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use shardbearer_core::engine::{Applied, ReceivedSnapshot, SnapshotWriter};
use shardbearer_core::storage::StorageError;

use super::snapshot::{at, open_file};

/// Suffix of a file that is still being received.
const PARTIAL: &str = "partial";
/// Suffix of a complete image.
const COMPLETE: &str = "image";

/// Receives an image into a file beside the live data.
pub struct ImageWriter {
    file: File,
    partial: PathBuf,
    /// It has its own name, which is also that of nobody else.
    complete: bool,
}

impl ImageWriter {
    /// Starts a new file in the folder. An image that waits there or is being installed keeps its name: were it replaced,
    /// the end of its install would take the other one away.
    pub fn create(folder: &Path) -> Result<Self, StorageError> {
        for number in 0u32.. {
            let partial = folder.join(format!("{number}.{PARTIAL}"));
            match File::options().read(true).write(true).create_new(true).open(&partial) {
                Ok(file) => {
                    let writer = ImageWriter { file, partial, complete: false };
                    // Looked at now: whoever had this name until just now has the other one.
                    if !writer.partial.with_extension(COMPLETE).exists() {
                        return Ok(writer);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(at(&partial, &error)),
            }
        }
        Err(StorageError::Io("no free name for a snapshot".into()))
    }

    /// The file, to read what was written.
    pub(super) fn reading(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    fn complete(&mut self) -> Result<ReceivedSnapshot, StorageError> {
        self.file.sync_all().map_err(|error| at(&self.partial, &error))?;
        let applied = verify(&self.partial).inspect_err(|error| {
            tracing::warn!("a received image is not taken, another will come: {error}")
        })?;
        let complete = self.partial.with_extension(COMPLETE);
        fs::rename(&self.partial, &complete).map_err(|error| at(&complete, &error))?;
        self.complete = true;
        let folder = complete.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| at(folder, &error))?;
        let place = complete.to_str().map(str::to_owned);
        let place = place.ok_or_else(|| StorageError::Io("the data directory's path is not UTF-8".into()))?;
        Ok(ReceivedSnapshot { applied, place })
    }
}

impl SnapshotWriter for ImageWriter {
    fn write(&mut self, chunk: &[u8]) -> Result<(), StorageError> {
        self.file.write_all(chunk).map_err(|error| at(&self.partial, &error))
    }

    fn finish(mut self: Box<Self>) -> Result<ReceivedSnapshot, StorageError> {
        self.complete()
    }
}

impl Drop for ImageWriter {
    fn drop(&mut self) {
        // After the rename this name may be another one's.
        if !self.complete {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Reads the whole file once, so that a damaged image is found before anything is replaced.
pub(super) fn verify(path: &Path) -> Result<Applied, StorageError> {
    let mut image = open_file(path)?;
    let applied = image.applied().clone();
    image.try_for_each(|row| row.map(drop))?;
    Ok(applied)
}

/// Removes an image that is not needed any more.
pub fn discard(place: &str) {
    // What stays is removed at the next start.
    let _ = fs::remove_file(place);
}

/// Removes what a crash left half received or uninstalled.
pub fn clean(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|suffix| suffix == PARTIAL || suffix == COMPLETE) {
            let _ = fs::remove_file(path);
        }
    }
}
