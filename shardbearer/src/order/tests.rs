//! Images of an order's data, from one replica to another, and whether replicas hold the same.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use shardbearer_core::engine::{Applier, Committed};
use shardbearer_core::ids::{OrderId, SessionId, ShardId};
use shardbearer_core::kv::{Command, Condition, Entry, Expiry, Item, RequestId};
use shardbearer_core::limits;
use shardbearer_core::log::LogPos;
use shardbearer_core::storage::{Batch, Durability, KeyRange, Space, StorageEngine, StorageError, View};
use shardbearer_proto::convert;
use shardbearer_state::shard::ShardMachine;

mod damage;
mod here;

use super::applier::MachineApplier;
use super::codec::DataCodec;
use crate::storage::memory::Memory;
use crate::storage::sled::Sled;
use crate::world::Real;

const ORDER: OrderId = OrderId(2);
const SHARD: ShardId = ShardId(1);

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn replica(folder: &Path) -> Arc<MachineApplier<ShardMachine>> {
    over(Arc::new(Memory::open(&folder.join("data")).expect("a folder")), folder)
}

fn over(storage: Arc<dyn StorageEngine>, folder: &Path) -> Arc<MachineApplier<ShardMachine>> {
    let images = folder.join("images");
    let (world, _) = Real::create();
    MachineApplier::open(ORDER, storage, ShardMachine::new(ORDER), DataCodec, images, world).expect("sound")
}

fn entry(index: u64, id: Option<RequestId>, command: Command) -> Committed {
    let items = vec![Item { shard: SHARD, id, until: 0, command }];
    let proposal = Some(convert::entry_to_bytes(&Entry { time_ms: 1, items }));
    Committed { position: LogPos { term: 1, index }, proposal, wanted: false, note: None }
}

async fn apply(applier: &dyn Applier, index: u64, id: Option<RequestId>, command: Command) {
    applier.apply(vec![entry(index, id, command)]).await.expect("memory does not fail");
}

/// Rows in memory that wait before a space is dropped, as an install does in its midst.
struct Halting {
    memory: Memory,
    /// To say that it waits, and to be told to go on.
    halt: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
}

impl StorageEngine for Halting {
    fn view(&self) -> Box<dyn View> {
        self.memory.view()
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), StorageError> {
        self.memory.commit(batch, durability)
    }

    fn drop_space(&self, space: Space) -> Result<(), StorageError> {
        self.memory.drop_space(space)?;
        if let Some((reached, go_on)) = self.halt.lock().take() {
            reached.send(()).expect("the test waits for it");
            go_on.recv_timeout(PATIENCE).expect("the test lets it go on");
        }
        Ok(())
    }

    fn spaces(&self) -> Result<Vec<Space>, StorageError> {
        self.memory.spaces()
    }

    fn disk_bytes(&self) -> u64 {
        self.memory.disk_bytes()
    }
}

/// Rows that are half of the old state and half of an image are not read: neither by who begins during the install, nor by
/// who began before it.
#[tokio::test]
async fn nothing_is_read_from_half_an_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |value: &'static str| {
        let (condition, expiry) = (Condition::Always, Expiry::Never);
        Command::Put { key: "k".into(), value: value.into(), condition, expiry, previous: false }
    };
    let source = replica(&folder.path().join("source"));
    apply(source.as_ref(), 1, None, Command::Adopt { epoch: 1 }).await;
    for index in 2..9 {
        apply(source.as_ref(), index, None, put("new")).await;
    }
    let target = folder.path().join("target");
    let memory = Memory::open(&target.join("data")).expect("a folder");
    let ((reached, reaching), (go, go_on)) = (mpsc::channel(), mpsc::channel());
    let target = over(Arc::new(Halting { memory, halt: Mutex::new(Some((reached, go_on))) }), &target);
    apply(target.as_ref(), 1, None, Command::Adopt { epoch: 1 }).await;
    apply(target.as_ref(), 2, None, put("old")).await;
    let mut reader = source.snapshot().await.expect("readable");
    let mut writer = target.receive_snapshot().await.expect("a folder");
    while let Some(chunk) = reader.next().expect("readable") {
        writer.write(&chunk).expect("writable");
    }
    let image = writer.finish().expect("whole");
    let count = |view: &dyn View| Ok(rows(view).len());
    assert_eq!(target.look(count), Ok(Some(1)));
    let (installer, runtime) = (target.clone(), tokio::runtime::Handle::current());
    let slow = target.look(|view| {
        #[allow(clippy::disallowed_methods)] // the test wants two real threads to race
        let installing = std::thread::spawn(move || runtime.block_on(installer.install(image)));
        reaching.recv_timeout(PATIENCE).expect("it drops the old rows");
        assert_eq!(rows(target.view().as_ref()).len(), 0, "neither the old rows nor the new");
        assert_eq!(target.look(count), Ok(None), "during the install");
        go.send(()).expect("it waits");
        installing.join().expect("no panic").expect("installed");
        count(view)
    });
    assert_eq!(slow, Ok(None), "from before the install to after it");
    assert_eq!(target.look(count), Ok(Some(1)));
}

/// An image may be gigabytes. Whoever shares the thread goes on meanwhile, also who only asks how far the order is; and
/// whoever closes the order waits for it, even if the engine that began it is gone.
#[tokio::test]
async fn nobody_but_who_closes_the_order_waits_while_an_image_is_installed() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = replica(&folder.path().join("source"));
    source.apply(entries(1..=4)).await.expect("no failure");
    let target = folder.path().join("target");
    let memory = Memory::open(&target.join("data")).expect("a folder");
    let ((reached, reaching), (go, go_on)) = (mpsc::channel(), mpsc::channel());
    let target = over(Arc::new(Halting { memory, halt: Mutex::new(Some((reached, go_on))) }), &target);
    target.apply(entries(1..=2)).await.expect("no failure");
    let mut reader = source.snapshot().await.expect("readable");
    let mut writer = target.receive_snapshot().await.expect("a folder");
    while let Some(chunk) = reader.next().expect("readable") {
        writer.write(&chunk).expect("writable");
    }
    let image = writer.finish().expect("whole");
    let reached = async {
        while reaching.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        done = target.install(image) => panic!("it waits for the disk: {done:?}"),
        reached = tokio::time::timeout(PATIENCE, reached) => reached.expect("it drops the old rows"),
    }
    // The engine is gone now, the install is not.
    assert_eq!(target.applied().position.index, 2);
    let mut closing = std::pin::pin!(target.close());
    assert!(futures_util::poll!(closing.as_mut()).is_pending());
    go.send(()).expect("it waits");
    tokio::time::timeout(PATIENCE, closing).await.expect("the install ends");
    assert_eq!((target.applied(), rows(target.view().as_ref()).len()), (source.applied(), 1));
}

fn rows(view: &dyn View) -> Vec<(Bytes, Bytes)> {
    let space = Space::Shard { order: ORDER, shard: SHARD, generation: 1 };
    view.scan(space, &KeyRange::all()).map(|row| row.expect("readable")).collect()
}

/// What a session remembers is one row, and may be longer than any message between radiants.
#[tokio::test]
async fn a_row_of_any_length_travels_in_chunks_that_fit_a_message() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = replica(&folder.path().join("source"));
    apply(source.as_ref(), 1, None, Command::Adopt { epoch: 1 }).await;
    let value = Bytes::from(vec![7; limits::GROWN_VALUE_BYTES_MAX]);
    let (key, condition, expiry) = (Bytes::from_static(b"k"), Condition::Always, Expiry::Never);
    let put = Command::Put { key: key.clone(), value, condition, expiry, previous: false };
    apply(source.as_ref(), 2, None, put).await;
    let id = RequestId { session: SessionId(7), number: 1, unanswered_from: 1, retry: false };
    apply(source.as_ref(), 3, Some(id), Command::Get { key }).await;
    let target = replica(&folder.path().join("target"));
    let mut reader = source.snapshot().await.expect("readable");
    let mut writer = target.receive_snapshot().await.expect("a folder");
    while let Some(chunk) = reader.next().expect("readable") {
        assert!(chunk.len() <= limits::MESSAGE_BYTES_MAX / 4, "{} bytes", chunk.len());
        writer.write(&chunk).expect("there is space");
    }
    target.install(writer.finish().expect("whole")).await.expect("sound");
    assert_eq!(target.applied(), source.applied());
    assert_eq!(rows(target.view().as_ref()), rows(source.view().as_ref()));
}

/// Commits of all orders wait while a view of sled is open. Who receives an image may take minutes, or stop half-way.
#[tokio::test]
async fn nobody_waits_for_who_receives_an_image_whatever_the_storage_engine() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Arc::new(Sled::open(&folder.path().join("data"), 1 << 20).expect("a folder"));
    let source = over(storage, &folder.path().join("source"));
    apply(source.as_ref(), 1, None, Command::Adopt { epoch: 1 }).await;
    let id = Some(RequestId { session: SessionId(7), number: 1, unanswered_from: 1, retry: false });
    apply(source.as_ref(), 2, id, Command::Increment { key: Bytes::from_static(b"k"), by: 1 }).await;
    let before = rows(source.view().as_ref());
    let mut reader = source.snapshot().await.expect("readable");
    let first = reader.next().expect("readable").expect("a header");

    let (busy, done) = (source.clone(), tokio::sync::oneshot::channel());
    #[allow(clippy::disallowed_methods)] // it may block for ever
    std::thread::spawn(move || {
        let command = Command::Increment { key: Bytes::from_static(b"k"), by: 1 };
        futures_util::FutureExt::now_or_never(apply(busy.as_ref(), 3, None, command)).expect("at once");
        done.0.send(()).expect("waited for");
    });
    let applied = tokio::time::timeout(std::time::Duration::from_secs(5), done.1).await;
    assert!(applied.is_ok(), "a commit waits for the receiver of an image");

    let target = replica(&folder.path().join("target"));
    let mut writer = target.receive_snapshot().await.expect("a folder");
    writer.write(&first).expect("there is space");
    while let Some(chunk) = reader.next().expect("readable") {
        writer.write(&chunk).expect("there is space");
    }
    drop(reader);
    target.install(writer.finish().expect("whole")).await.expect("sound");
    assert_eq!((target.applied().position.index, rows(target.view().as_ref())), (2, before));
    let left = std::fs::read_dir(folder.path().join("source/images")).expect("there").count();
    assert_eq!(left, 0, "the copy is gone");
}

/// Adopts the shard, and adds to a counter with every entry after the first.
fn entries(range: std::ops::RangeInclusive<u64>) -> Vec<Committed> {
    let command = |index| match index {
        1 => Command::Adopt { epoch: 1 },
        _ => Command::Increment { key: Bytes::from_static(b"counter"), by: 1 },
    };
    range.map(|index| entry(index, None, command(index))).collect()
}

#[tokio::test]
async fn replicas_are_compared_right_after_the_same_entry_however_far_they_are() {
    let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a folder")).collect();
    let sled = || Arc::new(Sled::open(&folders[2].path().join("data"), 1 << 20).expect("a database"));
    let (quick, slow, other) =
        (replica(folders[0].path()), replica(folders[1].path()), over(sled(), folders[2].path()));
    for one in [&quick, &slow, &other] {
        one.apply(entries(1..=2)).await.expect("no failure");
    }
    // One takes all that follows at once, one stops at the entry, one has views that hold commits up.
    let batches = [(&quick, 3..=9), (&slow, 3..=5), (&other, 3..=9)];
    let mut found = Vec::new();
    for (one, rest) in batches {
        let (digest, applied) = tokio::join!(biased; one.digest(5), one.apply(entries(rest)));
        applied.expect("no failure");
        found.push(digest.expect("no failure"));
    }
    assert_eq!(found[0].at, 5);
    assert_eq!((&found[0], &found[0]), (&found[1], &found[2]));
    let rows: u64 = found[0].parts.iter().map(|part| part.rows).sum();
    assert!(rows > 1 && found[0].parts.iter().any(|part| part.shard == Some(SHARD)), "{found:?}");

    // What has passed is not shown, nor what does not come: the present is.
    let passed = quick.digest(5).await.expect("no failure");
    assert_eq!(passed.at, 9);
    assert_ne!(passed.parts, found[0].parts);
    assert_eq!(slow.digest(6).await.expect("no failure"), found[1]);
    assert_eq!(slow.digest(0).await.expect("no failure").at, 5);
}

#[tokio::test]
async fn a_replica_with_other_rows_has_another_digest() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let storage = Arc::new(Memory::open(&folders[1].path().join("data")).expect("a folder"));
    let (good, altered) = (replica(folders[0].path()), over(storage.clone(), folders[1].path()));
    for one in [&good, &altered] {
        one.apply(entries(1..=4)).await.expect("no failure");
    }
    let mut batch = Batch::default();
    batch.put(Space::Order(ORDER), Bytes::from_static(b"stray"), Bytes::from_static(b"row"));
    storage.commit(batch, Durability::Buffered).expect("memory does not fail");
    let (good, altered) =
        (good.digest(4).await.expect("no failure"), altered.digest(4).await.expect("no failure"));
    let differ: Vec<_> = good.parts.iter().zip(&altered.parts).filter(|(one, other)| one != other).collect();
    assert_eq!(differ.iter().map(|(one, _)| one.shard).collect::<Vec<_>>(), [None]);
}
