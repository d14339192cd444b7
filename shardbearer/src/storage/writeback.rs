//! Has the kernel write fjall's journal out while it grows.
//!
//! fjall fsyncs its journal when it begins a new one, after 64 MB, and every commit of every order waits for that. If
//! nothing was written out before, that is a third of a second in which nothing is applied. So a thread of its own
//! fsyncs the file, by a descriptor of its own that makes nobody wait, each time it has grown by [`STEP_BYTES`]: then
//! little is left to do. Durability does not rest on this; the radiant's log has what is not yet on disk here.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use shardbearer_core::storage::StorageError;

use super::background;

/// So much takes a disk a few milliseconds.
const STEP_BYTES: u64 = 2 << 20;

/// The thread and what it is told.
pub(super) struct Writeback {
    grown: AtomicU64,
    due: Option<SyncSender<()>>,
    failure: Arc<OnceLock<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Writeback {
    /// Starts the thread for the journals in a folder.
    pub(super) fn start(folder: &Path) -> io::Result<Writeback> {
        let folder = folder.to_owned();
        Writeback::with(move || sync(&folder))
    }

    fn with(sync: impl Fn() -> io::Result<()> + Send + 'static) -> io::Result<Writeback> {
        // One place: what grows during an fsync is the next one's.
        let (due, asked) = sync_channel::<()>(1);
        let failure = Arc::new(OnceLock::new());
        let failed = failure.clone();
        #[allow(clippy::disallowed_methods)] // it waits for the disk; simulations have a storage without it
        let thread = std::thread::Builder::new().name("data-writeback".into()).spawn(move || {
            background::stand_back();
            while asked.recv().is_ok() {
                if let Err(error) = sync() {
                    // The kernel may have dropped what it could not write, and says so only once.
                    let _ = failed.set(format!("fsync of the data's journal: {error}"));
                    return;
                }
            }
        })?;
        Ok(Writeback { grown: AtomicU64::new(0), due: Some(due), failure, thread: Some(thread) })
    }

    /// Notes that the journal has grown. An error if it cannot be trusted any more.
    pub(super) fn grew(&self, bytes: u64) -> Result<(), StorageError> {
        if let Some(why) = self.failure.get() {
            return Err(StorageError::Io(why.clone()));
        }
        let grown = self.grown.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if grown >= STEP_BYTES {
            self.grown.store(0, Ordering::Relaxed);
            if let Some(due) = &self.due {
                // Full: it is asked for already.
                let _ = due.try_send(());
            }
        }
        Ok(())
    }
}

impl Drop for Writeback {
    fn drop(&mut self) {
        self.due = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Fsyncs the journal in use: the one with the highest number.
fn sync(folder: &Path) -> io::Result<()> {
    let Some(newest) = newest(folder)? else { return Ok(()) };
    match File::open(newest) {
        Ok(journal) => journal.sync_data(),
        // It was in use a moment ago, and fjall has fsynced and dropped it since.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn newest(folder: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest: Option<(u64, PathBuf)> = None;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "jnl") {
            continue;
        }
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let Some(number) = number
            && newest.as_ref().is_none_or(|(known, _)| number > *known)
        {
            newest = Some((number, path));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn the_disk_is_asked_once_a_step() {
        let (tell, told) = mpsc::channel();
        let writeback = Writeback::with(move || {
            tell.send(()).expect("heard");
            Ok(())
        });
        let writeback = writeback.expect("a thread");
        writeback.grew(STEP_BYTES - 1).expect("no failure");
        assert!(told.try_recv().is_err());
        writeback.grew(1).expect("no failure");
        told.recv_timeout(PATIENCE).expect("an fsync");
        drop(writeback);
        assert!(told.try_recv().is_err(), "and only one");
    }

    #[test]
    fn after_a_failed_fsync_nothing_is_taken_any_more() {
        let writeback = Writeback::with(|| Err(io::Error::other("gone"))).expect("a thread");
        writeback.grew(STEP_BYTES).expect("not known yet");
        let end = tokio::time::Instant::now() + PATIENCE;
        while writeback.grew(1).is_ok() {
            assert!(tokio::time::Instant::now() < end, "the failure is never noticed");
            std::thread::yield_now();
        }
        assert_eq!(writeback.grew(1), Err(StorageError::Io("fsync of the data's journal: gone".into())));
    }

    #[test]
    fn the_journal_with_the_highest_number_is_in_use() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(newest(folder.path()).expect("readable"), None);
        for name in ["9.jnl", "10.jnl", "version", "x.jnl"] {
            File::create(folder.path().join(name)).expect("a file");
        }
        assert_eq!(newest(folder.path()).expect("readable"), Some(folder.path().join("10.jnl")));
        sync(folder.path()).expect("synced");
    }

    #[test]
    fn fjall_keeps_its_journals_where_they_are_looked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let _database = super::super::fjall::Fjall::open(folder.path(), 1 << 20).expect("a database");
        assert!(newest(folder.path()).expect("readable").is_some());
    }
}
