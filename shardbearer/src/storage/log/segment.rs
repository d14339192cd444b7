//! The files of a log: names, preparation ahead of need, positioned reads.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use shardbearer_core::log::LogError;
use tokio::time::Instant;

use super::index::Location;

/// Bytes before the first frame: magic and version (8), segment number (8), file size (8), crc32 of those (4), zeros.
pub(super) const HEADER: u64 = 64;

const MAGIC: &[u8; 8] = b"SBLOG\x00\x00\x01";
const SUFFIX: &str = "log";
const PREPARED: &str = "prepared";

/// So much of a segment is written at once. Where there is time, the fsyncs of entries wait for no more than that.
const PART_BYTES: usize = 1 << 20;

/// The longest rest between two parts.
const REST_MAX: Duration = Duration::from_millis(50);

/// How the next part of a segment is to be made ready.
pub(super) enum Pace {
    /// Somebody may wait for it.
    Hurry,
    /// Brought to the disk by itself, with a rest after it: entries need the same disk.
    Gently,
    /// Not at all.
    Stop,
}

#[allow(clippy::disallowed_methods)] // only the log's own threads come here
fn fill(file: &mut File, bytes: u64, mut pace: impl FnMut() -> Pace) -> io::Result<()> {
    let zeros = vec![0; PART_BYTES];
    let mut left = bytes;
    while left > 0 {
        let part = left.min(zeros.len() as u64) as usize;
        match pace() {
            Pace::Hurry => file.write_all(&zeros[..part])?,
            Pace::Gently => {
                let since = Instant::now();
                file.write_all(&zeros[..part])?;
                file.sync_all()?;
                std::thread::sleep(since.elapsed().min(REST_MAX));
            }
            Pace::Stop => return Err(io::ErrorKind::Interrupted.into()),
        }
        left -= part as u64;
    }
    file.sync_all()
}

/// What is known of a segment on disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// Bytes of payloads and hard states in it that are still needed.
    pub live: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// The folder of a log, locked against other processes.
pub(super) struct Directory {
    path: PathBuf,
    folder: File,
    lock: File,
    /// The file last read from; old entries are read in runs.
    open: Mutex<Option<(u64, File)>>,
}

impl Directory {
    /// Lets another process use the folder; nothing may be written after this.
    pub fn unlock(&self) {
        // Dropping the file does it otherwise, with the last reader.
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }

    pub(super) fn open(path: &Path) -> Result<Self, LogError> {
        fs::create_dir_all(path).map_err(|error| at(path, &error))?;
        let lock_path = path.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(|error| at(&lock_path, &error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            LogError::Io(format!("{} is in use by another process; stop it first", path.display()))
        })?;
        let folder = File::open(path).map_err(|error| at(path, &error))?;
        Ok(Directory { path: path.to_owned(), folder, lock, open: Mutex::new(None) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn name(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:016x}.{SUFFIX}"))
    }

    /// The numbers of the segments there are, ascending. Removes what was only prepared.
    pub(super) fn list(&self) -> Result<Vec<u64>, LogError> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(|error| at(&self.path, &error))? {
            let path = entry.map_err(|error| at(&self.path, &error))?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            match path.extension().and_then(|suffix| suffix.to_str()) {
                Some(SUFFIX) => match u64::from_str_radix(stem, 16) {
                    Ok(number) => numbers.push(number),
                    Err(_) => return Err(corrupt(&path, 0, "a segment's name is no number")),
                },
                Some(PREPARED) => fs::remove_file(&path).map_err(|error| at(&path, &error))?,
                Some(_) | None => {}
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Makes a file of zeros ready to become a segment: allocated, written and synced, so that later
    /// fsyncs find no metadata to write. The name must be new: who was given the last file of a name may be writing to it.
    /// Nothing is left where that fails.
    pub(super) fn prepare(&self, name: &str, bytes: u64, pace: impl FnMut() -> Pace) -> io::Result<Prepared> {
        let path = self.path.join(format!("{name}.{PREPARED}"));
        let mut file = File::options().create_new(true).read(true).write(true).open(&path)?;
        match fill(&mut file, bytes, pace) {
            Ok(()) => Ok(Prepared { file, path, bytes }),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Turns a prepared file into the segment with that number.
    pub(super) fn adopt(&self, prepared: Prepared, number: u64) -> io::Result<Active> {
        let mut header = Vec::with_capacity(HEADER as usize);
        header.put_slice(MAGIC);
        header.put_u64(number);
        header.put_u64(prepared.bytes);
        let crc = crc32fast::hash(&header);
        header.put_u32(crc);
        header.resize(HEADER as usize, 0);
        prepared.file.write_all_at(&header, 0)?;
        prepared.file.sync_data()?;
        fs::rename(&prepared.path, self.name(number))?;
        self.folder.sync_all()?;
        Ok(Active { file: prepared.file, number, bytes: prepared.bytes })
    }

    /// A whole segment, with its header checked.
    pub(super) fn load(&self, number: u64) -> Result<Bytes, LogError> {
        let path = self.name(number);
        let bytes = Bytes::from(fs::read(&path).map_err(|error| at(&path, &error))?);
        let mut header = bytes.get(..28).ok_or_else(|| corrupt(&path, 0, "the header is cut off"))?;
        let crc = crc32fast::hash(&header[..24]);
        let magic_ok = &header[..8] == MAGIC;
        header.advance(8);
        let (found, size, checksum) = (header.get_u64(), header.get_u64(), header.get_u32());
        if !magic_ok || checksum != crc || found != number {
            return Err(corrupt(&path, 0, "the header is not that of this segment in a known version"));
        }
        if size != bytes.len() as u64 {
            return Err(corrupt(&path, bytes.len() as u64, "the file does not have its full length"));
        }
        Ok(bytes)
    }

    /// Opens an existing segment to go on writing.
    pub(super) fn reopen(&self, number: u64, bytes: u64) -> Result<Active, LogError> {
        let path = self.name(number);
        let file = File::options().read(true).write(true).open(&path).map_err(|error| at(&path, &error))?;
        Ok(Active { file, number, bytes })
    }

    /// A payload, its checksum verified.
    pub(super) fn read(&self, location: &Location) -> Result<Bytes, LogError> {
        let path = self.name(location.segment);
        let mut payload = vec![0; location.length as usize];
        {
            let mut open = self.open.lock();
            let file = match open.take() {
                Some((number, file)) if number == location.segment => file,
                Some(_) | None => File::open(&path).map_err(|error| at(&path, &error))?,
            };
            file.read_exact_at(&mut payload, location.offset).map_err(|error| at(&path, &error))?;
            *open = Some((location.segment, file));
        }
        if crc32fast::hash(&payload) != location.crc {
            return Err(corrupt(&path, location.offset, "an entry's checksum is wrong"));
        }
        Ok(payload.into())
    }

    /// Makes the names of all segments durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.folder.sync_all()
    }

    /// Removes a segment.
    pub(super) fn remove(&self, number: u64) -> io::Result<()> {
        fs::remove_file(self.name(number))?;
        self.folder.sync_all()
    }
}

/// A file of zeros that waits to become a segment.
pub(super) struct Prepared {
    file: File,
    path: PathBuf,
    pub bytes: u64,
}

/// The segment being written.
pub(super) struct Active {
    pub file: File,
    pub number: u64,
    pub bytes: u64,
}

pub(super) fn at(path: &Path, error: &io::Error) -> LogError {
    LogError::Io(format!("{}: {error}", path.display()))
}

pub(super) fn corrupt(path: &Path, offset: u64, what: &str) -> LogError {
    LogError::Corrupt { file: path.display().to_string(), offset, what: what.to_owned() }
}
