//! What the kit of storage engines cannot see from outside: when what goes down, and that readers never notice.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shardbearer_core::ids::OrderId;

use super::*;
use crate::storage::memory::Memory;

const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of rows that are kept.
const CACHE: u64 = 1 << 20;
const SPACE: Space = Space::Order(OrderId(1));

/// In memory; each commit with rows waits to be let through, or fails.
struct Gated {
    rows: Memory,
    begun: SyncSender<usize>,
    through: Mutex<Receiver<Result<(), StorageError>>>,
}

impl StorageEngine for Gated {
    fn view(&self) -> Box<dyn View> {
        self.rows.view()
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), StorageError> {
        if !batch.is_empty() {
            self.begun.send(batch.len()).expect("heard");
            self.through.lock().recv_timeout(PATIENCE).expect("told in time")?;
        }
        self.rows.commit(batch, durability)
    }

    fn drop_space(&self, space: Space) -> Result<(), StorageError> {
        self.rows.drop_space(space)
    }

    fn spaces(&self) -> Result<Vec<Space>, StorageError> {
        self.rows.spaces()
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

struct Rig {
    engine: Behind,
    begun: Receiver<usize>,
    through: SyncSender<Result<(), StorageError>>,
    _folder: tempfile::TempDir,
}

fn rig() -> Rig {
    aged(Duration::from_secs(3_600))
}

fn aged(age_max: Duration) -> Rig {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = Memory::open(folder.path()).expect("opens");
    let (begin, begun) = sync_channel(100);
    let (through, told) = sync_channel(100);
    let below = Gated { rows, begun: begin, through: Mutex::new(told) };
    Rig {
        engine: Behind::with(Arc::new(below), CACHE, age_max).expect("starts"),
        begun,
        through,
        _folder: folder,
    }
}

fn put(engine: &Behind, key: &'static str, value: impl Into<Bytes>) -> Result<(), StorageError> {
    let mut batch = Batch::default();
    batch.put(SPACE, key, value);
    engine.commit(batch, Durability::Buffered)
}

fn seen(view: &dyn View) -> Vec<(Bytes, Bytes)> {
    view.scan(SPACE, &KeyRange::all()).map(|row| row.expect("readable")).collect()
}

#[test]
fn many_changes_of_a_row_go_down_as_one() {
    let rig = rig();
    for number in 0..1_000 {
        put(&rig.engine, "applied", format!("{number}")).expect("taken");
    }
    rig.through.send(Ok(())).expect("waits");
    rig.engine.commit(Batch::default(), Durability::Synced).expect("all is below");
    assert_eq!(rig.begun.try_recv(), Ok(1));
    drop(rig.engine);
    assert!(rig.begun.try_recv().is_err(), "and nothing is left");
}

#[test]
fn a_change_does_not_wait_for_ever_for_company() {
    let rig = aged(Duration::from_millis(1));
    put(&rig.engine, "a", "1").expect("taken");
    assert_eq!(rig.begun.recv_timeout(PATIENCE), Ok(1));
    rig.through.send(Ok(())).expect("waits");
}

#[test]
fn what_is_left_goes_down_at_the_end() {
    let rig = rig();
    put(&rig.engine, "a", "1").expect("taken");
    rig.through.send(Ok(())).expect("waits");
    drop(rig.engine);
    assert_eq!(rig.begun.try_recv(), Ok(1));
}

#[test]
fn views_stay_as_they_were_whatever_goes_down() {
    let rig = rig();
    let row = |key: &'static str, value: &'static str| (Bytes::from(key), Bytes::from(value));
    put(&rig.engine, "a", "1").expect("taken");
    put(&rig.engine, "b", "1").expect("taken");
    let first = rig.engine.view();
    // Enough for it to go down.
    let mut batch = Batch::default();
    batch.put(Space::Order(OrderId(2)), "much", vec![0; FULL_BYTES]);
    rig.engine.commit(batch, Durability::Buffered).expect("taken");
    assert_eq!(rig.begun.recv_timeout(PATIENCE), Ok(3));
    // On its way, and already changed again.
    let mut batch = Batch::default();
    batch.put(SPACE, "b", "2");
    batch.delete(SPACE, "a");
    rig.engine.commit(batch, Durability::Buffered).expect("taken");
    let second = rig.engine.view();
    rig.through.send(Ok(())).expect("waits");
    rig.through.send(Ok(())).expect("waits");
    rig.engine.commit(Batch::default(), Durability::Synced).expect("all is below");
    put(&rig.engine, "c", "3").expect("taken");
    assert_eq!(seen(first.as_ref()), [row("a", "1"), row("b", "1")]);
    assert_eq!(seen(second.as_ref()), [row("b", "2")]);
    assert_eq!(second.get(SPACE, b"a"), Ok(None), "removed above what is below");
    assert_eq!(seen(rig.engine.view().as_ref()), [row("b", "2"), row("c", "3")]);
    rig.through.send(Ok(())).expect("waits");
}

#[test]
fn who_writes_faster_than_the_disk_waits() {
    let rig = rig();
    let big = Bytes::from(vec![0; FULL_BYTES]);
    put(&rig.engine, "a", big.clone()).expect("taken");
    assert_eq!(rig.begun.recv_timeout(PATIENCE), Ok(1), "it is full, so it goes at once");
    assert!(!rig.engine.is_full());
    put(&rig.engine, "b", big.clone()).expect("there is room for as much again");
    assert!(rig.engine.is_full());
    let (begin, entered) = sync_channel(1);
    let (done, finished) = sync_channel(1);
    std::thread::scope(|scope| {
        let engine = &rig.engine;
        scope.spawn(move || {
            begin.send(()).expect("heard");
            put(engine, "c", big).expect("taken in the end");
            done.send(()).expect("heard");
        });
        entered.recv_timeout(PATIENCE).expect("it runs");
        assert!(finished.recv_timeout(Duration::from_millis(50)).is_err(), "it waits");
        for _ in 0..3 {
            rig.through.send(Ok(())).expect("waits");
        }
        finished.recv_timeout(PATIENCE).expect("room again");
    });
}

#[test]
fn after_a_failure_below_nothing_is_taken_and_nothing_is_hidden() {
    let rig = rig();
    put(&rig.engine, "a", "1").expect("taken");
    let gone = StorageError::Io("gone".into());
    rig.through.send(Err(gone.clone())).expect("waits");
    assert_eq!(rig.engine.commit(Batch::default(), Durability::Synced), Err(gone.clone()));
    assert_eq!(put(&rig.engine, "b", "1"), Err(gone.clone()));
    assert_eq!(rig.engine.drop_space(SPACE), Err(gone));
    assert_eq!(seen(rig.engine.view().as_ref()), [("a".into(), "1".into())]);
}

#[test]
fn who_waits_until_all_is_below_does_not_wait_for_what_comes_after() {
    let rig = rig();
    let big = Bytes::from(vec![0; FULL_BYTES]);
    put(&rig.engine, "a", "1").expect("taken");
    std::thread::scope(|scope| {
        let engine = &rig.engine;
        let synced = scope.spawn(move || engine.commit(Batch::default(), Durability::Synced));
        assert_eq!(rig.begun.recv_timeout(PATIENCE), Ok(1), "it is wanted, so it goes");
        // From now on there is always enough for the next write.
        let filling = scope.spawn(move || (0..4).try_for_each(|_| put(engine, "b", big.clone())));
        rig.through.send(Ok(())).expect("waits");
        synced.join().expect("no panic").expect("it is below, whatever others do");
        for _ in 0..4 {
            rig.through.send(Ok(())).expect("waits");
        }
        filling.join().expect("no panic").expect("taken");
    });
}

#[test]
fn what_is_dropped_takes_no_room() {
    let rig = rig();
    put(&rig.engine, "a", vec![0; FULL_BYTES]).expect("taken");
    assert_eq!(rig.begun.recv_timeout(PATIENCE), Ok(1));
    put(&rig.engine, "b", vec![0; FULL_BYTES]).expect("there is room for as much again");
    std::thread::scope(|scope| {
        let engine = &rig.engine;
        let dropping = scope.spawn(move || engine.drop_space(SPACE));
        rig.through.send(Ok(())).expect("waits");
        // Either order is fine: the second goes down, or is forgotten before.
        rig.through.send(Ok(())).expect("waits");
        dropping.join().expect("no panic").expect("dropped");
    });
    assert!(!rig.engine.is_full());
    assert_eq!(seen(rig.engine.view().as_ref()), []);
}

#[test]
fn a_dropped_space_is_gone_from_every_layer() {
    let rig = rig();
    for _ in 0..3 {
        rig.through.send(Ok(())).expect("waits");
    }
    put(&rig.engine, "below", "1").expect("taken");
    rig.engine.commit(Batch::default(), Durability::Synced).expect("is below");
    put(&rig.engine, "above", "1").expect("taken");
    assert_eq!(rig.engine.spaces(), Ok(vec![SPACE]));
    rig.engine.drop_space(SPACE).expect("dropped");
    assert_eq!(rig.engine.spaces(), Ok(vec![]));
    assert_eq!(seen(rig.engine.view().as_ref()), []);
    put(&rig.engine, "new", "1").expect("taken");
    assert_eq!(seen(rig.engine.view().as_ref()), [("new".into(), "1".into())]);
}

/// Whether each row that a look finds is what a scan finds, which no cache answers.
fn agrees(view: &dyn View, keys: &[&'static str]) {
    let rows = seen(view);
    for key in keys {
        let scanned = rows.iter().find(|(found, _)| found == key).map(|(_, value)| value.clone());
        assert_eq!(view.get(SPACE, key.as_bytes()), Ok(scanned), "{key}");
    }
}

#[test]
fn whatever_is_written_each_view_finds_what_it_had() {
    const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
    let rig = rig();
    let mut random = StdRng::seed_from_u64(7);
    let mut views = Vec::new();
    for round in 0..400 {
        let mut batch = Batch::default();
        let key = KEYS[random.random_range(0..KEYS.len())];
        match random.random_range(0..8) {
            0 => batch.delete(SPACE, key),
            // Too large to be kept: what was kept of the row before must not be found.
            1 => batch.put(SPACE, key, vec![7; 20_000 + round]),
            _ => batch.put(SPACE, key, format!("{round}")),
        }
        rig.engine.commit(batch, Durability::Buffered).expect("taken");
        if random.random_ratio(1, 20) {
            rig.engine.drop_space(SPACE).expect("dropped");
        } else if random.random_ratio(1, 3) {
            rig.through.send(Ok(())).expect("waits");
            rig.engine.commit(Batch::default(), Durability::Synced).expect("is below");
            assert_eq!(rig.begun.recv_timeout(PATIENCE).map(|rows| rows > 0), Ok(true));
        }
        let view = rig.engine.view();
        views.push((rig.engine.view(), seen(view.as_ref())));
        if views.len() > 10 {
            views.remove(random.random_range(0..views.len()));
        }
        for (view, rows) in &views {
            assert_eq!(seen(view.as_ref()), *rows, "a view stays");
            agrees(view.as_ref(), &KEYS);
        }
    }
    rig.through.send(Ok(())).expect("waits");
}
