//! What a database finds when it is opened may be on no disk: the process ended before an fsync, or the fsync failed, after
//! which the system takes pages for clean that were never written. The database counts on what it reads, and says that it
//! is durable after its next fsync; then the radiant's log lets go of it. So it is made durable before it is read.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

const PART: usize = 1 << 20;

/// The file that fjall locks while it uses a folder.
const LOCK: &str = "lock";

/// Settles a database, if there is one and nobody uses it.
pub(super) fn settle(folder: &Path) -> io::Result<()> {
    let lock = match File::open(folder.join(LOCK)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => settle_folder(folder),
        // fjall will say so.
        Err(Errno::WOULDBLOCK) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes fjall's journals anew, in place, and fsyncs every file and folder. Tables need no more: they are named in another
/// file after they were fsynced. Where all was well, little is to be done.
fn settle_folder(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            settle_folder(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "jnl") {
            rewrite(&path)?;
        } else {
            File::open(&path)?.sync_all()?;
        }
    }
    File::open(folder)?.sync_all()
}

/// Keeps fjall from giving the number of a keyspace to another one, by an empty file of that name wherever there is none.
///
/// fjall counts on from the highest folder that it finds, and its own table of names may know a number whose folder is
/// gone: dropped, or lost with the power after the name was durable. Its entries then begin again with lower sequence
/// numbers than the old ones have, so that after the next start the old name counts, and the rows are found under it.
pub(super) fn keep_numbers(keyspaces: &Path) -> io::Result<()> {
    let mut taken = BTreeSet::new();
    for entry in fs::read_dir(keyspaces)? {
        taken.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    // The next one may be lost as well.
    let next = taken.last().map_or(1, |last| last + 1);
    (1..=next).filter(|number| !taken.contains(number)).try_for_each(|number| keep(keyspaces, number))?;
    File::open(keyspaces)?.sync_all()
}

/// The same for a keyspace that is about to be dropped: what is above it stays taken, and so it is.
pub(super) fn keep_above(keyspaces: &Path, number: u64) -> io::Result<()> {
    keep(keyspaces, number + 1)?;
    File::open(keyspaces)?.sync_all()
}

fn keep(keyspaces: &Path, number: u64) -> io::Result<()> {
    let path = keyspaces.join(number.to_string());
    match File::options().write(true).create_new(true).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// The end of a journal is zeros that were set aside.
fn rewrite(path: &Path) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let mut part = vec![0; PART];
    let mut offset = 0;
    while offset < length {
        let here = usize::try_from(length - offset).map_or(PART, |left| left.min(PART));
        let bytes = &mut part[..here];
        file.read_exact_at(bytes, offset)?;
        if bytes.iter().any(|byte| *byte != 0) {
            file.write_all_at(bytes, offset)?;
        }
        offset += here as u64;
    }
    file.set_len(length)?;
    file.sync_all()
}
