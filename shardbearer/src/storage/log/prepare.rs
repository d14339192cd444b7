//! The thread that prepares the next segment while the present one is written.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use super::Shared;
use super::segment::{Pace, Prepared};
use crate::storage::{background, ballast};

/// How long to wait before asking a full disk again.
pub(super) const FULL_PAUSE: Duration = Duration::from_millis(500);

/// Prepares a segment whenever one is wanted, unhurried: entries need the same disk. A full disk is asked again until it
/// gives; a broken one is not.
#[allow(clippy::disallowed_methods)] // a thread of its own, and a disk says nothing when it has room again
pub(super) fn prepare_all(shared: &Shared, asked: &Receiver<()>, ready: &SyncSender<Prepared>) {
    background::stand_back();
    let mut number = 0u64;
    while asked.recv().is_ok() {
        loop {
            number += 1;
            let name = format!("next-{number}");
            let room = room(shared);
            match room
                .and_then(|()| shared.directory.prepare(&name, shared.options.segment_bytes, || pace(shared)))
            {
                Ok(prepared) => {
                    shared.state.lock().disk_full = false;
                    if ready.send(prepared).is_err() {
                        return;
                    }
                    break;
                }
                Err(error) if is_full(&error) => {
                    let mut state = shared.state.lock();
                    if state.closing {
                        return;
                    }
                    if !std::mem::replace(&mut state.disk_full, true) {
                        tracing::warn!(%error, "no space for another log segment; asked again until there is");
                    }
                }
                Err(_) if shared.state.lock().closing => return,
                Err(error) => {
                    tracing::error!(%error, "the next log segment cannot be prepared; the log stops");
                    let why = format!("the next segment: {error}");
                    shared.state.lock().poisoned.get_or_insert(why);
                    shared.arrived.notify_one();
                    return;
                }
            }
            std::thread::sleep(FULL_PAUSE);
        }
    }
}

/// An error if the next segment would take what others need more.
fn room(shared: &Shared) -> io::Result<()> {
    let needed = shared.options.segment_bytes + shared.options.keep_free_bytes;
    match ballast::free_bytes(shared.directory.path()) {
        Some(free) if free < needed => Err(io::ErrorKind::StorageFull.into()),
        Some(_) | None => Ok(()),
    }
}

/// Gently while half of the segment in use is still to be written.
fn pace(shared: &Shared) -> Pace {
    let state = shared.state.lock();
    match state.room > shared.options.segment_bytes / 2 {
        _ if state.closing => Pace::Stop,
        true => Pace::Gently,
        false => Pace::Hurry,
    }
}

/// Whether room that is made elsewhere mends it.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
