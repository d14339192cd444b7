//! What is decided goes to the data here, in a task of its own, so that heartbeats do not wait for the disk; so do
//! images, and what the data say about how much of the log may go.

use std::sync::Arc;

use shardbearer_core::engine::{Committed, InstallError, ReceivedSnapshot};
use shardbearer_core::error::RequestError;
use shardbearer_core::log::LogPos;
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::replica::Input;
use crate::watch;

/// Bytes of entries applied in one commit, at most.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Entries kept when a log is compacted for its bytes.
const KEPT_OF_LARGE: u64 = 64;

/// An image that waits to be installed, and where to say that it is.
pub type Install = (ReceivedSnapshot, oneshot::Sender<Result<(), String>>);

/// Applies until the member closes or fails.
pub async fn run(
    shared: Arc<Shared>,
    mut commit: watch::Receiver<u64>,
    mut installs: mpsc::Receiver<Install>,
) {
    let mut compaction = Compaction { last: shared.context.applier.applied().position.index, kept: 0 };
    loop {
        let outcome = tokio::select! {
            biased;
            () = shared.closing.cancelled() => return,
            Some((image, done)) = installs.recv() => {
                let outcome = install(&shared, image).await;
                // The sender's task may be gone.
                let _ = done.send(outcome.clone().map_err(|error| error.to_string()));
                match outcome {
                    // Another is sent.
                    Ok(()) | Err(InstallError::Refused(_)) => Ok(()),
                    Err(InstallError::Failed(error)) => Err(error.to_string()),
                }
            }
            changed = commit.changed() => {
                if changed.is_err() {
                    return;
                }
                let target = *commit.borrow_and_update();
                match apply(&shared, target).await {
                    Ok(()) => compaction.run(&shared).await,
                    failed => failed,
                }
            }
        };
        if let Err(why) = outcome {
            return shared.fail(&why);
        }
    }
}

/// Gives the data everything up to `target`, and answers who waited for it.
async fn apply(shared: &Shared, target: u64) -> Result<(), String> {
    let applier = &shared.context.applier;
    loop {
        let applied = applier.applied().position.index;
        if applied >= target {
            return Ok(());
        }
        let entries = shared.journal.entries(applied + 1, target + 1, BATCH_BYTES_MAX)?;
        let Some((last, _)) = entries.last() else {
            return Err(format!("entry {} was decided and is not in the log", applied + 1));
        };
        let last = last.index;
        let positions: Vec<LogPos> = entries.iter().map(|(position, _)| *position).collect();
        let committed = {
            let waiting = shared.waiting.lock();
            let wanted = |position: &LogPos| waiting.proposals.contains_key(&position.index);
            entries
                .into_iter()
                .map(|(position, entry)| Committed {
                    wanted: wanted(&position),
                    position,
                    proposal: Some(entry.proposal),
                    note: None,
                })
                .collect()
        };
        let replies = applier.apply(committed).await.map_err(|error| error.to_string())?;
        let mut waiting = shared.waiting.lock();
        for (position, reply) in positions.into_iter().zip(replies) {
            if let Some((term, answer)) = waiting.proposals.remove(&position.index) {
                // The place may have gone to another's entry.
                let other = || Err(RequestError::Unknown("the lead changed".into()));
                // Whoever asked may have given up.
                let _ = answer.send(if term == position.term { Ok(reply) } else { other() });
            }
        }
        drop(waiting);
        shared.applied(last);
    }
}

async fn install(shared: &Shared, image: ReceivedSnapshot) -> Result<(), InstallError> {
    let upto = image.applied.position;
    let applier = &shared.context.applier;
    if applier.applied().position.index >= upto.index {
        return Ok(());
    }
    applier.install(image).await?;
    // What was applied by the image was not applied one by one: nobody knows the replies.
    shared.forget_proposals(upto.index, "an image was installed");
    shared.applied(upto.index);
    // The replica begins anew behind the image; if it is gone, so is the member.
    let _ = shared.inbox.send(Input::Installed(upto)).await;
    Ok(())
}

/// When the log was compacted last.
struct Compaction {
    last: u64,
    /// Bytes that the last one left.
    kept: u64,
}

impl Compaction {
    async fn run(&mut self, shared: &Shared) -> Result<(), String> {
        let limits = &shared.context.limits;
        let applied = shared.context.applier.applied().position.index;
        let held = shared.context.log.held_bytes(shared.context.order);
        // What is shared with other orders may not go; it must not be tried for ever.
        self.kept = self.kept.min(held);
        let many = applied >= self.last + limits.compact_after_entries;
        let large = held > self.kept + limits.compact_after_bytes;
        if !many && !large {
            return Ok(());
        }
        let persisted = shared.context.applier.persist().await.map_err(|error| error.to_string())?;
        (self.last, self.kept) = (applied, held);
        let keep = if large { limits.keep_entries.min(KEPT_OF_LARGE) } else { limits.keep_entries };
        let upto = persisted.position.index.saturating_sub(keep);
        if let Some((position, _)) = shared.journal.entries(upto, upto + 1, 1)?.first() {
            let _ = shared.inbox.send(Input::Purge(*position)).await;
        }
        Ok(())
    }
}
