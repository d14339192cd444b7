//! The laws of [`StorageEngine`]: batches are atomic, views stand still, scans are ordered and bounded, spaces are
//! apart and go as a whole, what was synced survives and what was not vanishes only as a suffix.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::storage::{Batch, Durability, KeyRange, Space, StorageEngine, StorageError, View};

use super::{Broken, Law, Subject, ensure, ensure_eq, laws};

type Storages<'a> = Subject<'a, dyn StorageEngine>;

/// Spaces whose names are easily taken for one another.
const SPACES: [Space; 5] = [
    Space::Order(OrderId(1)),
    Space::Order(OrderId(11)),
    Space::Shard { order: OrderId(1), shard: ShardId(1), generation: 1 },
    Space::Shard { order: OrderId(1), shard: ShardId(1), generation: 11 },
    Space::Shard { order: OrderId(1), shard: ShardId(11), generation: 1 },
];

/// All laws.
pub const LAWS: &[Law<dyn StorageEngine>] = laws! {
    Nothing:
        a_new_storage_is_empty
        rows_come_back_and_are_replaced_and_removed
        scans_are_ordered_and_keep_their_bounds
        spaces_are_apart
        a_dropped_space_is_gone_and_no_other
        a_view_stands_still
        a_view_never_sees_half_a_batch
        random_batches_agree_with_a_model;
    Persistence:
        what_was_synced_is_there_when_opened_again
        a_dropped_space_stays_dropped;
    Crash:
        what_was_synced_survives_the_death_of_the_process_and_the_rest_is_a_suffix;
};

/// Runs all laws; panics with what is broken.
pub fn check(subject: &Storages<'_>) {
    super::check(LAWS, subject);
}

fn put(storage: &dyn StorageEngine, space: Space, rows: &[(&str, &str)]) -> Result<(), Broken> {
    let mut batch = Batch::default();
    for (key, value) in rows {
        batch.put(space, key.as_bytes().to_vec(), value.as_bytes().to_vec());
    }
    Ok(storage.commit(batch, Durability::Synced)?)
}

fn get(view: &dyn View, space: Space, key: &str) -> Result<Option<String>, Broken> {
    Ok(view.get(space, key.as_bytes())?.map(|value| String::from_utf8_lossy(&value).into_owned()))
}

/// The rows of a range as `key=value`.
fn scan(view: &dyn View, space: Space, range: &KeyRange) -> Result<Vec<String>, Broken> {
    let rows: Result<Vec<(Bytes, Bytes)>, StorageError> = view.scan(space, range).collect();
    let word = |(key, value): &(Bytes, Bytes)| format!("{}={}", key.escape_ascii(), value.escape_ascii());
    Ok(rows?.iter().map(word).collect())
}

fn range(start: &str, end: Option<&str>) -> KeyRange {
    KeyRange { start: start.as_bytes().to_vec(), end: end.map(|end| end.as_bytes().to_vec()) }
}

fn a_new_storage_is_empty(subject: &Storages<'_>, place: &str) -> Result<(), Broken> {
    let storage = (subject.open)(place);
    ensure_eq!(storage.spaces()?, [], "spaces");
    for space in SPACES {
        ensure_eq!(get(&*storage.view(), space, "k")?, None, "a row");
        ensure_eq!(scan(&*storage.view(), space, &KeyRange::all())?, [""; 0], "a scan");
    }
    Ok(storage.drop_space(SPACES[0])?)
}

fn rows_come_back_and_are_replaced_and_removed(subject: &Storages<'_>, place: &str) -> Result<(), Broken> {
    let (storage, space) = ((subject.open)(place), SPACES[2]);
    let long = "x".repeat(200_000);
    put(&*storage, space, &[("a", "1"), ("b", ""), ("long", &long)])?;
    let view = storage.view();
    ensure_eq!(get(&*view, space, "a")?.as_deref(), Some("1"), "a row");
    ensure_eq!(get(&*view, space, "b")?.as_deref(), Some(""), "an empty value is one");
    ensure!(get(&*view, space, "long")?.as_deref() == Some(&*long), "a long value came back otherwise");
    drop(view);
    let mut batch = Batch::default();
    batch.put(space, "a", "2");
    batch.delete(space, "b");
    batch.delete(space, "never there");
    batch.put(space, "c", "3");
    batch.delete(space, "c");
    storage.commit(batch, Durability::Buffered)?;
    storage.commit(Batch::default(), Durability::Synced)?;
    let range = range("", Some("d"));
    ensure_eq!(scan(&*storage.view(), space, &range)?, ["a=2"], "replaced and removed");
    Ok(())
}

fn scans_are_ordered_and_keep_their_bounds(subject: &Storages<'_>, place: &str) -> Result<(), Broken> {
    let (storage, space) = ((subject.open)(place), SPACES[2]);
    put(&*storage, space, &[("c", "3"), ("a", "1"), ("ab", "2"), ("d", "4"), ("b", "5")])?;
    let view = storage.view();
    for (range, expected) in [
        (KeyRange::all(), vec!["a=1", "ab=2", "b=5", "c=3", "d=4"]),
        (range("ab", Some("c")), vec!["ab=2", "b=5"]),
        (range("aa", Some("bb")), vec!["ab=2", "b=5"]),
        (range("c", None), vec!["c=3", "d=4"]),
        (range("e", None), vec![]),
        (range("b", Some("b")), vec![]),
        (range("c", Some("a")), vec![]),
        (KeyRange::prefix(b"a"), vec!["a=1", "ab=2"]),
    ] {
        ensure_eq!(scan(&*view, space, &range)?, expected, "{range:?}");
    }
    drop(view);
    // Bytes are unsigned, and nothing is special about the first and the last.
    let keys: [&[u8]; 6] = [&[0], &[0, 0], &[0x7f], &[0x80], &[0xff], &[0xff, 0xff]];
    let mut batch = Batch::default();
    keys.iter().rev().for_each(|key| batch.put(SPACES[3], key.to_vec(), "v"));
    storage.commit(batch, Durability::Buffered)?;
    let found: Result<Vec<_>, _> = storage.view().scan(SPACES[3], &KeyRange::all()).collect();
    let found: Vec<Vec<u8>> = found?.into_iter().map(|(key, _)| key.to_vec()).collect();
    ensure_eq!(found, keys, "keys in the order of their bytes");
    let last = scan(&*storage.view(), SPACES[3], &KeyRange::prefix(&[0xff]))?;
    ensure_eq!(last.len(), 2, "keys that begin with the last byte");
    Ok(())
}

fn spaces_are_apart(subject: &Storages<'_>, place: &str) -> Result<(), Broken> {
    let storage = (subject.open)(place);
    let mut batch = Batch::default();
    for (number, space) in SPACES.into_iter().enumerate() {
        batch.put(space, "k", number.to_string());
    }
    storage.commit(batch, Durability::Buffered)?;
    for (number, space) in SPACES.into_iter().enumerate() {
        let rows = scan(&*storage.view(), space, &KeyRange::all())?;
        ensure_eq!(rows, [format!("k={number}")], "the rows of {space:?}");
    }
    let mut expected = SPACES.to_vec();
    expected.sort_unstable();
    ensure_eq!(storage.spaces()?, expected, "spaces, ascending");
    Ok(())
}

/// A row in each space, then the third is dropped.
fn drop_one(storage: &dyn StorageEngine) -> Result<(), Broken> {
    for space in SPACES {
        let keys: Vec<String> = (0..3_000).map(|number| format!("{number:05}")).collect();
        let rows: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "v")).collect();
        put(storage, space, &rows)?;
    }
    Ok(storage.drop_space(SPACES[2])?)
}

fn ensure_dropped_one(storage: &dyn StorageEngine) -> Result<(), Broken> {
    for space in SPACES {
        let rows = scan(&*storage.view(), space, &KeyRange::all())?.len();
        let expected = if space == SPACES[2] { 0 } else { 3_000 };
        ensure_eq!(rows, expected, "rows in {space:?} after {:?} was dropped", SPACES[2]);
    }
    ensure!(!storage.spaces()?.contains(&SPACES[2]), "the dropped space is still listed");
    Ok(())
}

fn a_dropped_space_is_gone_and_no_other(subject: &Storages<'_>, place: &str) -> Result<(), Broken> {
    let storage = (subject.open)(place);
    drop_one(&*storage)?;
    ensure_dropped_one(&*storage)?;
    storage.drop_space(SPACES[2])?;
    put(&*storage, SPACES[2], &[("new", "1")])?;
    let rows = scan(&*storage.view(), SPACES[2], &KeyRange::all())?;
    ensure_eq!(rows, ["new=1"], "a space that is used again begins empty");
    Ok(())
}

fn a_dropped_space_stays_dropped(subject: &Storages<'_>, place: &str) -> Result<(), Broken> {
    drop_one(&*(subject.open)(place))?;
    ensure_dropped_one(&*(subject.open)(place))
}

fn a_view_stands_still(subject: &Storages<'_>, place: &str) -> Result<(), Broken> {
    let storage = (subject.open)(place);
    put(&*storage, SPACES[2], &[("a", "old"), ("b", "old")])?;
    let view = storage.view();
    let committing = storage.clone();
    let (done, committed) = channel();
    // In another thread, because an engine may keep commits waiting until the view is dropped.
    #[allow(clippy::disallowed_methods)] // a law about threads
    let thread = std::thread::spawn(move || {
        let mut batch = Batch::default();
        batch.put(SPACES[2], "a", "new");
        batch.delete(SPACES[2], "b");
        batch.put(SPACES[2], "c", "new");
        batch.put(SPACES[4], "new", "space");
        let outcome = committing.commit(batch, Durability::Buffered);
        drop(done.send(outcome));
    });
    // Whether it waits or not, the view shows what it showed.
    let early = committed.recv_timeout(Duration::from_millis(200)).ok();
    let then = scan(&*view, SPACES[2], &KeyRange::all())?;
    ensure_eq!(then, ["a=old", "b=old"], "a view that was there before the commit");
    ensure_eq!(get(&*view, SPACES[2], "a")?.as_deref(), Some("old"), "its rows one by one");
    ensure_eq!(scan(&*view, SPACES[4], &KeyRange::all())?, [""; 0], "a space that is younger than it");
    drop(view);
    let outcome = early.map_or_else(|| committed.recv_timeout(Duration::from_secs(30)), Ok);
    outcome.map_err(|_| Broken("the commit never returned".into()))??;
    ensure!(thread.join().is_ok(), "the committing thread panicked");
    let now = scan(&*storage.view(), SPACES[2], &KeyRange::all())?;
    ensure_eq!(now, ["a=new", "c=new"], "a view that was taken after the commit");
    Ok(())
}

fn a_view_never_sees_half_a_batch(subject: &Storages<'_>, place: &str) -> Result<(), Broken> {
    const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let storage = (subject.open)(place);
    let commit = |storage: &dyn StorageEngine, number: u32| {
        let mut batch = Batch::default();
        for space in SPACES {
            KEYS.iter().for_each(|key| batch.put(space, *key, number.to_string()));
        }
        storage.commit(batch, Durability::Buffered)
    };
    commit(&*storage, 0)?;
    let (over, committing) = (Arc::new(AtomicBool::new(false)), storage.clone());
    let ended = over.clone();
    let (look, looked) = std::sync::mpsc::sync_channel(1);
    #[allow(clippy::disallowed_methods)] // a law about threads
    let thread = std::thread::spawn(move || {
        let outcome = (1..=300).try_for_each(|number| {
            if number % 50 == 0 {
                // However fast this is, the other side looks meanwhile; at the end there is nobody to wait for.
                let _ = looked.try_recv();
                let _ = looked.recv();
            }
            commit(&*committing, number)
        });
        ended.store(true, Ordering::SeqCst);
        outcome
    });
    let mut seen = Ok(());
    while seen.is_ok() && !over.load(Ordering::SeqCst) {
        seen = same_number_everywhere(&*storage.view());
        let _ = look.try_send(());
        std::thread::yield_now();
    }
    drop(look);
    let outcome = thread.join().map_err(|_| Broken("the committing thread panicked".into()))?;
    outcome?;
    seen?;
    same_number_everywhere(&*storage.view())
}

fn same_number_everywhere(view: &dyn View) -> Result<(), Broken> {
    let mut numbers = Vec::new();
    for space in SPACES {
        for row in view.scan(space, &KeyRange::all()) {
            numbers.push(row?.1);
        }
    }
    let same = numbers.len() == 40 && numbers.iter().all(|number| Some(number) == numbers.first());
    ensure!(same, "half of a batch was seen: {numbers:?}");
    Ok(())
}

fn random_batches_agree_with_a_model(subject: &Storages<'_>, place: &str) -> Result<(), Broken> {
    let mut random = StdRng::seed_from_u64(7);
    let mut model: BTreeMap<Space, BTreeMap<Bytes, Bytes>> = BTreeMap::new();
    let mut storage = (subject.open)(place);
    for round in 0..150 {
        let mut batch = Batch::default();
        for _ in 0..random.random_range(1..12) {
            let space = SPACES[random.random_range(0..SPACES.len())];
            let length = random.random_range(1..3);
            let key: Bytes = (0..length).map(|_| random.random_range(0..6) * 51u8).collect();
            let rows = model.entry(space).or_default();
            if random.random_bool(0.7) {
                let value = Bytes::from(vec![round as u8; random.random_range(0..40)]);
                rows.insert(key.clone(), value.clone());
                batch.put(space, key, value);
            } else {
                rows.remove(&key);
                batch.delete(space, key);
            }
        }
        let durability = if random.random_bool(0.1) { Durability::Synced } else { Durability::Buffered };
        storage.commit(batch, durability)?;
        if random.random_bool(0.05) {
            let space = SPACES[random.random_range(0..SPACES.len())];
            storage.drop_space(space)?;
            model.remove(&space);
        }
        if subject.persistent && random.random_bool(0.03) {
            storage.commit(Batch::default(), Durability::Synced)?;
            drop(storage);
            storage = (subject.open)(place);
        }
        let view = storage.view();
        for space in SPACES {
            let rows: Result<Vec<_>, _> = view.scan(space, &KeyRange::all()).collect();
            let expected: Vec<(Bytes, Bytes)> =
                model.get(&space).into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
            ensure_eq!(rows?, expected, "round {round}, {space:?}");
        }
    }
    Ok(())
}

fn what_was_synced_is_there_when_opened_again(subject: &Storages<'_>, place: &str) -> Result<(), Broken> {
    let storage = (subject.open)(place);
    for number in 0..20 {
        put(&*storage, SPACES[number % SPACES.len()], &[(&format!("k{number:02}"), "v")])?;
    }
    drop(storage);
    let storage = (subject.open)(place);
    for number in 0..20 {
        let found = get(&*storage.view(), SPACES[number % SPACES.len()], &format!("k{number:02}"))?;
        ensure_eq!(found.as_deref(), Some("v"), "row {number}");
    }
    let mut expected = SPACES.to_vec();
    expected.sort_unstable();
    ensure_eq!(storage.spaces()?, expected, "spaces");
    Ok(())
}

fn what_was_synced_survives_the_death_of_the_process_and_the_rest_is_a_suffix(
    subject: &Storages<'_>,
    place: &str,
) -> Result<(), Broken> {
    let Some(crash) = subject.crash else { return Ok(()) };
    let storage = (subject.open)(place);
    for number in 1..=40 {
        let mut batch = Batch::default();
        for space in SPACES {
            batch.put(space, format!("{number:02}"), "v");
        }
        let durability = if number == 20 { Durability::Synced } else { Durability::Buffered };
        storage.commit(batch, durability)?;
    }
    let copy = format!("{place}-died");
    crash(place, &copy);
    let after = (subject.open)(&copy);
    let rows = |space| scan(&*after.view(), space, &KeyRange::all());
    let first = rows(SPACES[0])?;
    ensure!(first.len() >= 20, "only {} batches survived, 20 were synced", first.len());
    let expected: Vec<String> = (1..=first.len()).map(|number| format!("{number:02}=v")).collect();
    for space in SPACES {
        ensure_eq!(
            rows(space)?,
            expected,
            "in {space:?}: batches survive whole, and none before one that is lost"
        );
    }
    Ok(())
}
