//! What a replica holds, in a few bytes, so that replicas can be compared: digests of all rows of an order right after an
//! entry of its log. Replicas that applied the same have the same rows, however far they are just now.

use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use shardbearer_core::engine::Applier;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::ShardId;
use shardbearer_core::machine::StateMachine;
use shardbearer_core::storage::{KeyRange, Space, StorageError, View};
use shardbearer_proto::pb;
use tokio::sync::{Semaphore, oneshot};

use super::applier::{Applying, MachineApplier};

/// How long an entry is waited for. While nothing is written it does not come.
const COMES_WITHIN: Duration = Duration::from_millis(500);

/// So many of an order at a time: each reads everything.
const AT_ONCE: usize = 2;

/// What a replica holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The last entry that counts.
    pub at: u64,
    /// Of each shard, and of what the order keeps of itself.
    pub parts: Vec<Part>,
}

/// Rows that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Whose; `None` for the order's own.
    pub shard: Option<ShardId>,
    /// How many.
    pub rows: u64,
    /// Of all their keys and values.
    pub digest: [u8; 32],
}

impl From<&Digest> for pb::DigestResponse {
    fn from(digest: &Digest) -> Self {
        let part = |part: &Part| pb::DigestPart {
            shard: part.shard.map_or(0, |shard| shard.0),
            rows: part.rows,
            digest: part.digest.to_vec().into(),
        };
        pb::DigestResponse { at: digest.at, parts: digest.parts.iter().map(part).collect() }
    }
}

/// The state after an entry.
pub(super) struct State {
    view: Box<dyn View>,
    spaces: Vec<Space>,
    at: u64,
}

impl State {
    fn digest(self) -> Result<Digest, StorageError> {
        let parts = self.spaces.iter().map(|space| part(self.view.as_ref(), *space));
        Ok(Digest { at: self.at, parts: parts.collect::<Result<_, _>>()? })
    }
}

/// What is shown to somebody who wants to see it.
pub(super) enum Look {
    /// To be gone through in one's own time.
    State(State),
    /// Where commits would wait for that.
    Done(Result<Digest, StorageError>),
}

fn part(view: &dyn View, space: Space) -> Result<Part, StorageError> {
    let (mut rows, mut digest) = (0, blake3::Hasher::new());
    for row in view.scan(space, &KeyRange::all()) {
        let (key, value) = row?;
        // The applier's own bookkeeping differs between replicas.
        if matches!(space, Space::Order(_)) && key.first() == Some(&0xff) {
            continue;
        }
        for bytes in [&key, &value] {
            digest.update(&(bytes.len() as u64).to_be_bytes()).update(bytes);
        }
        rows += 1;
    }
    let shard = match space {
        Space::Order(_) => None,
        Space::Shard { shard, .. } => Some(shard),
    };
    Ok(Part { shard, rows, digest: *digest.finalize().as_bytes() })
}

/// Somebody who wants to see the state right after an entry.
pub(super) struct Mark {
    pub(super) index: u64,
    wanted: oneshot::Sender<Look>,
}

impl Mark {
    /// Nobody may be there any more.
    pub(super) fn show(self, look: Look) {
        let _ = self.wanted.send(look);
    }
}

/// All of them.
pub(super) struct Marks {
    waiting: Mutex<Vec<Mark>>,
    turns: Semaphore,
}

impl Default for Marks {
    fn default() -> Self {
        Marks { waiting: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
    }
}

impl Marks {
    /// The first that is due before or with this entry. Who has left is forgotten.
    pub(super) fn next(&self, upto: u64) -> Option<Mark> {
        let mut waiting = self.waiting.lock();
        waiting.retain(|mark| !mark.wanted.is_closed());
        let first = waiting.iter().enumerate().min_by_key(|(_, mark)| mark.index)?;
        let (place, due) = (first.0, first.1.index <= upto);
        due.then(|| waiting.swap_remove(place))
    }

    fn add(&self, mark: Mark) {
        self.waiting.lock().push(mark);
    }
}

/// Applying a batch takes less. An image is installed for longer, and this thread has heartbeats to carry.
const HELD_WITHIN: Duration = Duration::from_millis(20);

fn failed(why: &str) -> RequestError {
    Refused::Unavailable(why.to_owned()).into()
}

impl<M: StateMachine> MachineApplier<M> {
    fn held(&self) -> Result<MutexGuard<'_, Applying<M>>, RequestError> {
        let held = self.state.try_lock_for(HELD_WITHIN);
        held.ok_or_else(|| failed("an image is being installed here, or the disk is slow"))
    }

    /// What is held here right after entry `at`, or, if that has passed or does not come within a moment, now. For
    /// 0 only how far it is.
    pub async fn digest(&self, at: u64) -> Result<Digest, RequestError> {
        if at == 0 {
            let _held = self.held()?;
            return Ok(Digest { at: self.applied().position.index, parts: Vec::new() });
        }
        let busy = |_| Refused::Busy(format!("{AT_ONCE} comparisons are under way already"));
        let _turn = self.marks.turns.try_acquire().map_err(busy)?;
        let installs = self.installs.load(Ordering::SeqCst);
        let (wanted, shown) = oneshot::channel();
        {
            let state = self.held()?;
            let mark = Mark { index: at, wanted };
            match self.applied().position.index >= at {
                true => mark.show(self.look_at(&state)),
                false => self.marks.add(mark),
            }
        }
        let shown = tokio::time::timeout(COMES_WITHIN, shown).await.ok().and_then(Result::ok);
        let shown = match shown {
            Some(shown) => shown,
            None => self.look_at(&*self.held()?),
        };
        let digest = match shown {
            Look::State(state) => self.world.block(move || state.digest()).await,
            Look::Done(digest) => Some(digest),
        };
        // Also an error may come from rows of two states.
        if installs % 2 == 1 || self.installs.load(Ordering::SeqCst) != installs {
            return Err(failed("an image is being installed here"));
        }
        let digest = digest.ok_or_else(|| failed("reading the rows failed"))?;
        digest.map_err(|error| failed(&error.to_string()))
    }

    /// The state as it is. Where views hold commits up it is digested here and now, and the commits of all orders wait: they
    /// would also for a view that somebody goes through elsewhere. Whoever chooses such an engine and has its replicas
    /// compared pays that; to copy the rows first, as for an image, would hold commits up for as long.
    pub(super) fn look_at(&self, state: &Applying<M>) -> Look {
        let (view, spaces) = (self.storage.view(), state.machine.spaces());
        let state = State { view, spaces, at: self.applied().position.index };
        match self.storage.views_hold_commits_up() {
            true => Look::Done(state.digest()),
            false => Look::State(state),
        }
    }
}
