//! The only bridge from an engine to the data of an order.
//!
//! Entries are decoded, applied to the machine in a workspace, and committed to storage as one
//! batch **with their position in it**, so that after any crash the position says exactly what the rows
//! hold. The commit is not fsynced: the log has the entries, and is purged only up to what
//! [`Applier::persist`] made durable.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use shardbearer_core::engine::{
    Applied, Applier, Committed, InstallError, ReceivedSnapshot, SnapshotReader, SnapshotWriter,
};
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::LogPos;
use shardbearer_core::machine::{StateMachine, Workspace};
use shardbearer_core::storage::{Batch, Durability, Space, StorageEngine, StorageError, View};
use shardbearer_core::world::World;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::checks::{self, Check, Checks};
use super::install;
use super::received::{self, ImageWriter};
use super::snapshot::ImageReader;
use super::spool::Spool;
use super::verify::Marks;

/// How a machine's commands and replies look in a log.
pub trait Codec<M: StateMachine>: Send + Sync + 'static {
    /// The command, or a sentence that says why the bytes are none.
    fn decode(&self, proposal: Bytes) -> Result<M::Command, String>;

    /// The reply.
    fn encode(&self, reply: M::Reply) -> Bytes;

    /// The reply to bytes that are no command; the same on every replica.
    fn rejected(&self, why: &str) -> Bytes;
}

/// Reserved keys in an order's space; machines keep away from `ff`.
pub(super) const APPLIED: &[u8] = b"\xffapplied";
pub(super) const INSTALLING: &[u8] = b"\xffinstalling";

/// Format version of the two rows above.
const VERSION: u8 = 1;

/// The machine and what stops it.
pub(super) struct Applying<M> {
    pub(super) machine: M,
    /// Set by the first failure of the disk; nothing is applied after it.
    pub(super) failure: Option<StorageError>,
}

/// Applies an order's entries to a machine over a storage engine.
pub struct MachineApplier<M: StateMachine> {
    /// Itself, for work on a thread that may wait for the disk.
    this: Weak<Self>,
    pub(super) order: OrderId,
    pub(super) storage: Arc<dyn StorageEngine>,
    codec: Box<dyn Codec<M>>,
    snapshots: PathBuf,
    pub(super) world: World,
    pub(super) state: Mutex<Applying<M>>,
    /// What is applied. Changed only by who holds `state`, and apart from it, because an install holds that for long.
    pub(super) applied: Mutex<Applied>,
    /// Had by who changes rows on a thread of its own, which goes on when nobody waits for it any more.
    elsewhere: Arc<Semaphore>,
    /// Counts beginnings and ends of installs: odd while the rows are being replaced, in more than one commit.
    pub(super) installs: AtomicU64,
    /// Who wants to see the state right after which entry.
    pub(super) marks: Marks,
    /// What was held lately.
    pub(super) checks: Checks,
}

impl<M: StateMachine> MachineApplier<M> {
    /// Opens the order's data: finishes an install that a crash interrupted, drops left-over spaces, loads the
    /// machine. `snapshots` is a folder for received images.
    pub fn open(
        order: OrderId,
        storage: Arc<dyn StorageEngine>,
        mut machine: M,
        codec: impl Codec<M>,
        snapshots: PathBuf,
        world: World,
    ) -> Result<Arc<Self>, StorageError> {
        make_durable(&snapshots)
            .map_err(|error| StorageError::Io(format!("cannot create {}: {error}", snapshots.display())))?;
        install::finish(storage.as_ref(), order, &snapshots)?;
        received::clean(&snapshots);
        let applied = {
            let view = storage.view();
            machine.load(view.as_ref())?;
            read_applied(view.as_ref(), order)?
        };
        let wanted = machine.spaces();
        for space in storage.spaces()? {
            if space.order() == order && !wanted.contains(&space) {
                storage.drop_space(space)?;
            }
        }
        Ok(Arc::new_cyclic(|this| MachineApplier {
            this: this.clone(),
            order,
            storage,
            codec: Box::new(codec),
            snapshots,
            world,
            state: Mutex::new(Applying { machine, failure: None }),
            applied: Mutex::new(applied),
            elsewhere: Arc::new(Semaphore::new(1)),
            installs: AtomicU64::new(0),
            marks: Marks::default(),
            checks: Checks::default(),
        }))
    }

    /// Waits for an install or a drop that is under way, and lets none begin any more. To be called once the engine is
    /// closed, and before anybody else touches the order's rows.
    pub async fn close(&self) {
        let _last = self.elsewhere.acquire().await;
        self.elsewhere.close();
    }

    async fn elsewhere(&self) -> Result<OwnedSemaphorePermit, StorageError> {
        let turn = self.elsewhere.clone().acquire_owned().await;
        turn.map_err(|_| StorageError::Io(format!("order {} is closed", self.order)))
    }

    /// A view of what is applied; while an image is being installed, of any part of it. For looks that do no harm
    /// then; for answers there is [`Self::look`].
    pub fn view(&self) -> Box<dyn View> {
        self.storage.view()
    }

    /// What `look` finds in a consistent view of what is applied; `None` if an image was being installed meanwhile, for
    /// rows of two states may then have been seen.
    pub fn look<T>(
        &self,
        look: impl FnOnce(&dyn View) -> Result<T, StorageError>,
    ) -> Result<Option<T>, StorageError> {
        let before = self.installs.load(Ordering::SeqCst);
        if before % 2 == 1 {
            return Ok(None);
        }
        let found = look(self.storage.view().as_ref());
        // Also an error may come from what was seen.
        if self.installs.load(Ordering::SeqCst) == before { found.map(Some) } else { Ok(None) }
    }

    /// How often an image was begun or has been installed; odd while one is, and once the seat is given up.
    pub(super) fn installs(&self) -> u64 {
        self.installs.load(Ordering::SeqCst)
    }

    /// Where the rows are kept.
    pub fn storage(&self) -> &Arc<dyn StorageEngine> {
        &self.storage
    }

    /// From now on nothing is applied by this applier: what is kept here of the order gets another one, or goes. An engine that
    /// has closed may be at its last entries still. May wait for an image that is being installed.
    pub fn retire(&self) {
        self.state.lock().failure.get_or_insert(StorageError::Io("the seat was given up".into()));
        // What is kept may be another applier's soon, and its rows are no answer of this one.
        self.installs.fetch_or(1, Ordering::SeqCst);
    }

    /// The replies, and what is to be dropped.
    fn apply_all(&self, entries: Vec<Committed>) -> Result<(Vec<Bytes>, Vec<Space>), StorageError> {
        let mut state = self.state.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        match self.apply_by_marks(&mut state, entries) {
            Ok(replies) => Ok((replies, state.machine.take_dropped())),
            Err(error) => {
                state.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    /// In parts, if somebody wants to see the state between two of the entries.
    fn apply_by_marks(
        &self,
        state: &mut Applying<M>,
        mut entries: Vec<Committed>,
    ) -> Result<Vec<Bytes>, StorageError> {
        let mut replies = Vec::new();
        let last = entries.last().map_or(0, |entry| entry.position.index);
        while let Some(mark) = self.marks.next(last) {
            let rest = entries.split_off(entries.partition_point(|entry| entry.position.index <= mark.index));
            if !entries.is_empty() {
                replies.extend(self.apply_in(state, entries)?);
            }
            mark.show(self.look_at(state));
            entries = rest;
        }
        match (entries.is_empty(), replies.is_empty()) {
            (true, _) => {}
            // As nearly always.
            (false, true) => replies = self.apply_in(state, entries)?,
            (false, false) => replies.extend(self.apply_in(state, entries)?),
        }
        Ok(replies)
    }

    fn apply_in(&self, state: &mut Applying<M>, entries: Vec<Committed>) -> Result<Vec<Bytes>, StorageError> {
        let mut replies = Vec::with_capacity(entries.len());
        let mut applied = self.applied();
        let mut held = Vec::new();
        let batch = {
            let view = self.storage.view();
            let mut work = Workspace::new(view.as_ref());
            for entry in entries {
                if entry.position.index <= applied.position.index {
                    return Err(StorageError::Corrupt(format!(
                        "order {}: entry {} was given again after {}",
                        self.order, entry.position.index, applied.position.index
                    )));
                }
                applied.position = entry.position;
                if let Some(note) = entry.note {
                    applied.note = note;
                }
                replies.push(match entry.proposal.map(|proposal| self.codec.decode(proposal)) {
                    None => Bytes::new(),
                    Some(Ok(command)) => {
                        let reply = state.machine.apply(entry.position, command, &mut work);
                        if entry.wanted { self.codec.encode(reply) } else { Bytes::new() }
                    }
                    Some(Err(why)) => self.codec.rejected(&why),
                });
                if entry.position.index.is_multiple_of(checks::EVERY) {
                    let digest = state.machine.digest();
                    held.extend(digest.map(|digest| Check { at: entry.position, digest }));
                }
            }
            work.put(Space::Order(self.order), Bytes::from_static(APPLIED), encode_applied(&applied));
            work.finish()?
            // The view ends here: an engine without snapshots could not commit under it.
        };
        self.storage.commit(batch, Durability::Buffered)?;
        *self.applied.lock() = applied;
        self.checks.add(held);
        Ok(replies)
    }

    /// Drops what the applied commands gave up, on a thread that may wait for the disk.
    async fn drop_spaces(&self, spaces: Vec<Space>) -> Result<(), StorageError> {
        let (turn, storage) = (self.elsewhere().await?, self.storage.clone());
        let work = move || {
            let _turn = turn;
            // A drop is durable at once. Were the commit before it lost and replayed without the dropped rows, what the
            // replay makes of them could differ from what the other replicas have.
            storage.commit(Batch::default(), Durability::Synced)?;
            spaces.into_iter().try_for_each(|space| storage.drop_space(space))
        };
        let dropped = self.world.block(work).await;
        let dropped = dropped.unwrap_or_else(|| Err(StorageError::Io("dropping a shard panicked".into())));
        if let Err(error) = &dropped {
            self.state.lock().failure.get_or_insert(error.clone());
        }
        dropped
    }
}

#[async_trait]
impl<M: StateMachine> Applier for MachineApplier<M> {
    fn applied(&self) -> Applied {
        self.applied.lock().clone()
    }

    async fn apply(&self, entries: Vec<Committed>) -> Result<Vec<Bytes>, StorageError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        while self.storage.is_full() {
            // Not here: this thread has heartbeats to carry.
            let storage = self.storage.clone();
            self.world.block(move || storage.make_room()).await;
        }
        let (replies, dropped) = self.apply_all(entries)?;
        if !dropped.is_empty() {
            self.drop_spaces(dropped).await?;
        }
        Ok(replies)
    }

    async fn persist(&self) -> Result<Applied, StorageError> {
        let (applied, storage) = (self.applied(), self.storage.clone());
        let synced = self.world.block(move || storage.commit(Batch::default(), Durability::Synced)).await;
        synced.unwrap_or_else(|| Err(StorageError::Io("making data durable panicked".into())))?;
        Ok(applied)
    }

    async fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageError> {
        let this = self.this();
        let image = self.world.block(move || this.image()).await;
        image.unwrap_or_else(|| Err(StorageError::Io("taking an image panicked".into())))
    }

    async fn receive_snapshot(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        Ok(Box::new(ImageWriter::create(&self.snapshots)?))
    }

    async fn install(&self, received: ReceivedSnapshot) -> Result<(), InstallError> {
        let (turn, this) = (self.elsewhere().await?, self.this());
        // It takes as long as the disk takes for all of an order's data, and this thread has heartbeats to carry.
        let installed = self.world.block(move || {
            let _turn = turn;
            this.install_now(&received)
        });
        installed.await.unwrap_or_else(|| Err(StorageError::Io("installing an image panicked".into()).into()))
    }
}

/// What waits for the disk.
impl<M: StateMachine> MachineApplier<M> {
    fn this(&self) -> Arc<Self> {
        self.this.upgrade().expect("it is made in an Arc and given to nobody without it")
    }

    fn image(&self) -> Result<Box<dyn SnapshotReader>, StorageError> {
        let (view, spaces, applied) = {
            let state = self.state.lock();
            (self.storage.view(), state.machine.spaces(), self.applied())
        };
        let image = ImageReader::new(view, spaces, applied);
        if self.storage.views_hold_commits_up() {
            return Ok(Box::new(Spool::of(image, &self.snapshots)?));
        }
        Ok(Box::new(image))
    }
}

/// Makes a folder, and its name durable: rows say soon that an image is there, and a power cut must not take it from them.
fn make_durable(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    folder.parent().map_or(Ok(()), |above| std::fs::File::open(above)?.sync_all())
}

pub(super) fn read_applied(view: &dyn View, order: OrderId) -> Result<Applied, StorageError> {
    let Some(row) = view.get(Space::Order(order), APPLIED)? else { return Ok(Applied::default()) };
    let mut body = unseal(&row, "applied position")?;
    if body.len() < 16 {
        return Err(StorageError::Corrupt("the applied position is unreadable".into()));
    }
    let position = LogPos { term: body.get_u64(), index: body.get_u64() };
    Ok(Applied { position, note: body })
}

pub(super) fn encode_applied(applied: &Applied) -> Bytes {
    let mut body = BytesMut::with_capacity(16 + applied.note.len());
    body.put_u64(applied.position.term);
    body.put_u64(applied.position.index);
    body.put_slice(&applied.note);
    seal(&body)
}

/// Version, checksum, body.
pub(super) fn seal(body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(5 + body.len());
    out.put_u8(VERSION);
    out.put_u32(crc32fast::hash(body));
    out.put_slice(body);
    out.freeze()
}

pub(super) fn unseal(row: &Bytes, what: &str) -> Result<Bytes, StorageError> {
    let mut rest = row.clone();
    let damaged = || StorageError::Corrupt(format!("the {what} is damaged"));
    if rest.len() < 5 || rest.get_u8() != VERSION {
        return Err(damaged());
    }
    let checksum = rest.get_u32();
    if crc32fast::hash(&rest) == checksum { Ok(rest) } else { Err(damaged()) }
}
