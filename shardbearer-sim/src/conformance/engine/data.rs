//! The kit's data: every entry applied, in order, with its position. It notices what must not happen (a gap, a
//! repetition) and, like real storage, a crash takes it back to what was last persisted.

use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use shardbearer_core::engine::{
    Applied, Applier, Committed, InstallError, ReceivedSnapshot, SnapshotReader, SnapshotWriter,
};
use shardbearer_core::log::LogPos;
use shardbearer_core::storage::StorageError;

/// Bytes of an image in one chunk; small, so that there are many.
const CHUNK: usize = 512;

/// An entry as applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it stands.
    pub position: LogPos,
    /// What was proposed, if anything.
    pub proposal: Option<Bytes>,
}

/// What a member has applied; outlives it.
#[derive(Default)]
pub struct Data(Mutex<State>);

#[derive(Default)]
struct State {
    live: Image,
    durable: Image,
    wrong: Option<String>,
    received: Vec<Image>,
    installed: u64,
    /// So many images that come next are damaged on their way.
    damage: u64,
    /// How many were, and were not taken.
    damaged: u64,
    /// So many that come next are found damaged when they are to be installed.
    rot: u64,
    /// How many were.
    refused: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Image {
    applied: Applied,
    rows: Vec<Row>,
}

/// What the data answer to an entry: proof of where it was applied.
pub fn reply(position: LogPos, proposal: &[u8]) -> Bytes {
    let mut out = BytesMut::from(&position.index.to_be_bytes()[..]);
    out.put_slice(proposal);
    out.freeze()
}

impl Data {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("nobody panicked")
    }

    /// Everything applied.
    pub fn rows(&self) -> Vec<Row> {
        self.state().live.rows.clone()
    }

    /// The proposals applied, in order.
    pub fn proposals(&self) -> Vec<Bytes> {
        self.state().live.rows.iter().filter_map(|row| row.proposal.clone()).collect()
    }

    /// Up to where.
    pub fn position(&self) -> LogPos {
        self.state().live.applied.position
    }

    /// How many images were installed.
    pub fn installed(&self) -> u64 {
        self.state().installed
    }

    /// Of the next images that arrive, so many have a bit that turned on the way, or in the file in which they wait.
    pub fn damage(&self, images: u64) {
        self.state().damage = images;
    }

    /// How many damaged images arrived. None of them was installed.
    pub fn damaged(&self) -> u64 {
        self.state().damaged
    }

    /// Of the next images so many have a bit that turns between being found whole and being installed.
    pub fn rot(&self, images: u64) {
        self.state().rot = images;
    }

    /// How many images were refused for that.
    pub fn refused(&self) -> u64 {
        self.state().refused
    }

    /// What the engine did that it must not do.
    pub fn wrong(&self) -> Option<String> {
        self.state().wrong.clone()
    }

    /// The power fails.
    pub fn crash(&self) {
        let mut state = self.state();
        state.live = state.durable.clone();
        state.received.clear();
    }

    /// The data as a member sees them until `alive` is false.
    pub fn mount(self: &Arc<Data>, alive: Arc<AtomicBool>) -> Arc<dyn Applier> {
        Arc::new(Mounted { data: self.clone(), alive })
    }
}

struct Mounted {
    data: Arc<Data>,
    alive: Arc<AtomicBool>,
}

impl Mounted {
    fn alive(&self) -> Result<(), StorageError> {
        let alive = self.alive.load(Ordering::Acquire);
        alive.then_some(()).ok_or_else(|| StorageError::Io("the power failed".into()))
    }
}

#[async_trait]
impl Applier for Mounted {
    fn applied(&self) -> Applied {
        self.data.state().live.applied.clone()
    }

    async fn apply(&self, entries: Vec<Committed>) -> Result<Vec<Bytes>, StorageError> {
        self.alive()?;
        let mut state = self.data.state();
        let mut replies = Vec::new();
        for Committed { position, proposal, note, wanted } in entries {
            let before = state.live.applied.position;
            if position.index != before.index + 1 || position.term < before.term {
                state.wrong.get_or_insert(format!("{position:?} was given to the data after {before:?}"));
            }
            let answered = proposal.as_ref().filter(|_| wanted);
            replies.push(answered.map_or_else(Bytes::new, |proposal| reply(position, proposal)));
            state.live.applied.position = position;
            if let Some(note) = note {
                state.live.applied.note = note;
            }
            state.live.rows.push(Row { position, proposal });
        }
        Ok(replies)
    }

    async fn persist(&self) -> Result<Applied, StorageError> {
        self.alive()?;
        let mut state = self.data.state();
        state.durable = state.live.clone();
        Ok(state.durable.applied.clone())
    }

    async fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageError> {
        self.alive()?;
        let image = self.data.state().live.clone();
        let bytes = encode(&image);
        Ok(Box::new(Reader { applied: image.applied, bytes }))
    }

    async fn receive_snapshot(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        self.alive()?;
        Ok(Box::new(Writer { data: self.data.clone(), bytes: Vec::new() }))
    }

    async fn install(&self, snapshot: ReceivedSnapshot) -> Result<(), InstallError> {
        self.alive()?;
        let mut state = self.data.state();
        let place: Option<usize> = snapshot.place.parse().ok();
        let Some(image) = place.and_then(|place| state.received.get(place).cloned()) else {
            return Err(StorageError::Corrupt(format!("there is no image at {:?}", snapshot.place)).into());
        };
        if state.rot > 0 {
            (state.rot, state.refused) = (state.rot - 1, state.refused + 1);
            let why = format!("the image at {:?} is not what it was", snapshot.place);
            return Err(InstallError::Refused(StorageError::Corrupt(why)));
        }
        if image.applied.position.index > state.live.applied.position.index {
            state.live = image;
            state.durable = state.live.clone();
            state.installed += 1;
        }
        Ok(())
    }
}

struct Reader {
    applied: Applied,
    bytes: Bytes,
}

impl SnapshotReader for Reader {
    fn applied(&self) -> Applied {
        self.applied.clone()
    }

    fn next(&mut self) -> Result<Option<Bytes>, StorageError> {
        let chunk = self.bytes.split_to(self.bytes.len().min(CHUNK));
        Ok((!chunk.is_empty()).then_some(chunk))
    }
}

struct Writer {
    data: Arc<Data>,
    bytes: Vec<u8>,
}

impl SnapshotWriter for Writer {
    fn write(&mut self, chunk: &[u8]) -> Result<(), StorageError> {
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<ReceivedSnapshot, StorageError> {
        let mut state = self.data.state();
        if state.damage > 0 {
            state.damage -= 1;
            state.damaged += 1;
            // Each time another.
            let bit = self.bytes.len() * 8 / 3 + 8 * state.damaged as usize + 5;
            if let Some(byte) = self.bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
        let image = decode(self.bytes.into());
        let image = image.ok_or_else(|| StorageError::Corrupt("the image is not whole".into()))?;
        state.received.push(image.clone());
        Ok(ReceivedSnapshot { applied: image.applied, place: (state.received.len() - 1).to_string() })
    }
}

fn encode(image: &Image) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u64(image.rows.len() as u64);
    put(&mut out, image.applied.position, Some(&image.applied.note));
    image.rows.iter().for_each(|row| put(&mut out, row.position, row.proposal.as_ref()));
    out.put_u64(checksum(&out));
    out.freeze()
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn put(out: &mut BytesMut, position: LogPos, bytes: Option<&Bytes>) {
    out.put_u64(position.term);
    out.put_u64(position.index);
    out.put_u8(bytes.is_some().into());
    let bytes = bytes.cloned().unwrap_or_default();
    out.put_u64(bytes.len() as u64);
    out.put_slice(&bytes);
}

/// The inverse of [`encode`]; `None` if a byte is missing, too many, or another.
fn decode(mut bytes: Bytes) -> Option<Image> {
    let mut end = bytes.split_off(bytes.len().checked_sub(8)?);
    if end.get_u64() != checksum(&bytes) {
        return None;
    }
    let count = bytes.try_get_u64().ok()?;
    let (position, note) = take(&mut bytes)?;
    let mut rows = Vec::new();
    for _ in 0..count {
        let (position, proposal) = take(&mut bytes)?;
        rows.push(Row { position, proposal });
    }
    bytes.is_empty().then(|| Image { applied: Applied { position, note: note.unwrap_or_default() }, rows })
}

fn take(bytes: &mut Bytes) -> Option<(LogPos, Option<Bytes>)> {
    let position = LogPos { term: bytes.try_get_u64().ok()?, index: bytes.try_get_u64().ok()? };
    let some = bytes.try_get_u8().ok()? != 0;
    let length = usize::try_from(bytes.try_get_u64().ok()?).ok()?;
    if bytes.len() < length {
        return None;
    }
    let taken = bytes.split_to(length);
    Some((position, some.then_some(taken)))
}
