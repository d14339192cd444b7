//! The only bridge from an engine to the data of an order.
//!
//! Entries are decoded, applied to the machine in a workspace, and committed to storage as one
//! batch **with their position in it**, so that after any crash the position says exactly what the rows
//! hold. The commit is not fsynced: the log has the entries, and is purged only up to what
//! [`Applier::persist`] made durable.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use shardbearer_core::engine::{
    Applied, Applier, Committed, ReceivedSnapshot, SnapshotReader, SnapshotWriter,
};
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::LogPos;
use shardbearer_core::machine::{StateMachine, Workspace};
use shardbearer_core::storage::{Batch, Durability, Space, StorageEngine, StorageError, View};
use shardbearer_core::world::World;

use super::generation;
use super::snapshot::{self, ImageReader, ImageWriter};
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
const APPLIED: &[u8] = b"\xffapplied";
const INSTALLING: &[u8] = b"\xffinstalling";

/// Format version of the two rows above.
const VERSION: u8 = 1;

/// The machine and how far it is.
pub(super) struct Applying<M> {
    pub(super) machine: M,
    pub(super) applied: Applied,
    /// Set by the first failure of the disk; nothing is applied after it.
    pub(super) failure: Option<StorageError>,
}

/// Applies an order's entries to a machine over a storage engine.
pub struct MachineApplier<M: StateMachine> {
    order: OrderId,
    pub(super) storage: Arc<dyn StorageEngine>,
    codec: Box<dyn Codec<M>>,
    snapshots: PathBuf,
    pub(super) world: World,
    pub(super) state: Mutex<Applying<M>>,
    /// Counts beginnings and ends of installs: odd while the rows are being replaced, in more than one commit.
    pub(super) installs: AtomicU64,
    /// Who wants to see the state right after which entry.
    pub(super) marks: Marks,
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
        std::fs::create_dir_all(&snapshots)
            .map_err(|error| StorageError::Io(format!("cannot create {}: {error}", snapshots.display())))?;
        let interrupted = storage.view().get(Space::Order(order), INSTALLING)?;
        if let Some(row) = interrupted {
            let place = String::from_utf8(unseal(&row, "install record")?.to_vec())
                .map_err(|_| StorageError::Corrupt("the record of an install is unreadable".into()))?;
            load_image(storage.as_ref(), order, &here(&snapshots, &place)?)?;
        }
        snapshot::clean(&snapshots);
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
        let state = Mutex::new(Applying { machine, applied, failure: None });
        let (codec, installs, marks) = (Box::new(codec), AtomicU64::new(0), Marks::default());
        Ok(Arc::new(MachineApplier { order, storage, codec, snapshots, world, state, installs, marks }))
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

    /// From now on nothing is applied by this applier: what is kept here of the order gets another one, or goes. An engine that
    /// has closed may be at its last entries still. May wait for an image that is being installed.
    pub fn retire(&self) {
        self.state.lock().failure.get_or_insert(StorageError::Io("the seat was given up".into()));
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
        let mut applied = state.applied.clone();
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
            }
            work.put(Space::Order(self.order), Bytes::from_static(APPLIED), encode_applied(&applied));
            work.finish()?
            // The view ends here: an engine without snapshots could not commit under it.
        };
        self.storage.commit(batch, Durability::Buffered)?;
        state.applied = applied;
        Ok(replies)
    }

    /// Drops what the applied commands gave up, on a thread that may wait for the disk.
    async fn drop_spaces(&self, spaces: Vec<Space>) -> Result<(), StorageError> {
        let storage = self.storage.clone();
        let work = move || {
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
        self.state.lock().applied.clone()
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
        let (view, spaces, applied) = {
            let state = self.state.lock();
            (self.storage.view(), state.machine.spaces(), state.applied.clone())
        };
        let image = ImageReader::new(view, spaces, applied);
        if !self.storage.views_hold_commits_up() {
            return Ok(Box::new(image));
        }
        let folder = self.snapshots.clone();
        let spooled = self.world.block(move || Spool::of(image, &folder)).await;
        Ok(Box::new(spooled.ok_or_else(|| StorageError::Io("writing the image failed".into()))??))
    }

    async fn receive_snapshot(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        Ok(Box::new(ImageWriter::create(&self.snapshots)?))
    }

    async fn install(&self, received: ReceivedSnapshot) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        if received.applied.position.index <= state.applied.position.index {
            snapshot::discard(&received.place);
            return Ok(());
        }
        self.installs.fetch_add(1, Ordering::SeqCst);
        let installed = self.install_in(&mut state, &received.place);
        match &installed {
            Ok(()) => {
                self.installs.fetch_add(1, Ordering::SeqCst);
            }
            // Nothing is answered any more from what may be half of an image.
            Err(error) => state.failure = Some(error.clone()),
        }
        installed
    }
}

impl<M: StateMachine> MachineApplier<M> {
    fn install_in(&self, state: &mut Applying<M>, place: &str) -> Result<(), StorageError> {
        // From this commit on the old rows may go: whatever happens, the image replaces them.
        let mut marker = Batch::default();
        marker.put(Space::Order(self.order), Bytes::from_static(INSTALLING), seal(place.as_bytes()));
        self.storage.commit(marker, Durability::Synced)?;
        load_image(self.storage.as_ref(), self.order, place)?;
        let view = self.storage.view();
        state.machine.load(view.as_ref())?;
        state.applied = read_applied(view.as_ref(), self.order)?;
        Ok(())
    }
}

/// The place of an image whose record may have been written when the data directory was elsewhere.
fn here(snapshots: &Path, place: &str) -> Result<String, StorageError> {
    let name = Path::new(place).file_name();
    let found = name.map(|name| snapshots.join(name)).and_then(|path| path.to_str().map(str::to_owned));
    found.ok_or_else(|| StorageError::Corrupt(format!("the record of an install names no file: {place:?}")))
}

/// Replaces an order's rows by an image; may be repeated from any point.
fn load_image(storage: &dyn StorageEngine, order: OrderId, place: &str) -> Result<(), StorageError> {
    const BYTES_AT_ONCE: usize = 4 << 20;
    let image = snapshot::open(place)?;
    // The shards' spaces first. The order's own keeps the marker, so it is emptied row by row.
    for space in storage.spaces()? {
        if space.order() == order && space != Space::Order(order) {
            storage.drop_space(space)?;
        }
    }
    let own = Space::Order(order);
    let mut batch = Batch::default();
    for row in storage.view().scan(own, &shardbearer_core::storage::KeyRange::all()) {
        let (key, _) = row?;
        if key != INSTALLING && key != generation::ROW {
            batch.delete(own, key);
        }
    }
    let applied = image.applied().clone();
    let mut bytes = 0;
    for row in image {
        let (space, key, value) = row?;
        if space.order() != order {
            return Err(StorageError::Corrupt(format!("{place} holds rows of another order")));
        }
        if space == own && key.first() == Some(&0xff) {
            continue; // the sender's own bookkeeping
        }
        bytes += key.len() + value.len();
        batch.put(space, key, value);
        if bytes > BYTES_AT_ONCE {
            storage.commit(std::mem::take(&mut batch), Durability::Buffered)?;
            bytes = 0;
        }
    }
    batch.put(own, Bytes::from_static(APPLIED), encode_applied(&applied));
    batch.delete(own, Bytes::from_static(INSTALLING));
    storage.commit(batch, Durability::Synced)?;
    snapshot::discard(place);
    Ok(())
}

fn read_applied(view: &dyn View, order: OrderId) -> Result<Applied, StorageError> {
    let Some(row) = view.get(Space::Order(order), APPLIED)? else { return Ok(Applied::default()) };
    let mut body = unseal(&row, "applied position")?;
    if body.len() < 16 {
        return Err(StorageError::Corrupt("the applied position is unreadable".into()));
    }
    let position = LogPos { term: body.get_u64(), index: body.get_u64() };
    Ok(Applied { position, note: body })
}

fn encode_applied(applied: &Applied) -> Bytes {
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
