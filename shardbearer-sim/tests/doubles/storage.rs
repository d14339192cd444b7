//! A storage in memory, honest or with one flaw.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use shardbearer_core::storage::{
    Batch, Durability, KeyRange, Rows, Space, StorageEngine, StorageError, View,
};
use shardbearer_sim::conformance::Subject;
use shardbearer_sim::conformance::storage::{LAWS, check};

use super::broken;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    BornWithASpace,
    ForgetsEmptyValues,
    KeepsDeletedRows,
    EndInclusive,
    StartExclusive,
    Backwards,
    MixesGenerations,
    DropLeavesRows,
    DropTakesNeighbours,
    DropIsForgottenWhenClosed,
    ViewsMove,
    RowByRow,
    ForgetsWhenClosed,
    LosesSyncedWhenKilled,
    LosesAHoleWhenKilled,
    LosesHalfABatchWhenKilled,
    LosesBigBatches,
}

/// Each with a law that is meant to find it.
const FLAWS: &[(Flaw, &str)] = &[
    (Flaw::BornWithASpace, "a_new_storage_is_empty"),
    (Flaw::ForgetsEmptyValues, "rows_come_back_and_are_replaced_and_removed"),
    (Flaw::KeepsDeletedRows, "rows_come_back_and_are_replaced_and_removed"),
    (Flaw::EndInclusive, "scans_are_ordered_and_keep_their_bounds"),
    (Flaw::StartExclusive, "scans_are_ordered_and_keep_their_bounds"),
    (Flaw::Backwards, "scans_are_ordered_and_keep_their_bounds"),
    (Flaw::MixesGenerations, "spaces_are_apart"),
    (Flaw::DropLeavesRows, "a_dropped_space_is_gone_and_no_other"),
    (Flaw::DropTakesNeighbours, "a_dropped_space_is_gone_and_no_other"),
    (Flaw::DropIsForgottenWhenClosed, "a_dropped_space_stays_dropped"),
    (Flaw::ViewsMove, "a_view_stands_still"),
    (Flaw::RowByRow, "a_view_never_sees_half_a_batch"),
    (Flaw::ForgetsWhenClosed, "what_was_synced_is_there_when_opened_again"),
    (
        Flaw::LosesSyncedWhenKilled,
        "what_was_synced_survives_the_death_of_the_process_and_the_rest_is_a_suffix",
    ),
    (
        Flaw::LosesAHoleWhenKilled,
        "what_was_synced_survives_the_death_of_the_process_and_the_rest_is_a_suffix",
    ),
    (
        Flaw::LosesHalfABatchWhenKilled,
        "what_was_synced_survives_the_death_of_the_process_and_the_rest_is_a_suffix",
    ),
    (Flaw::LosesBigBatches, "random_batches_agree_with_a_model"),
];

#[test]
fn an_honest_storage_keeps_every_law() {
    let disk = Disk::default();
    let copy = |from: &str, to: &str| disk.copy(from, to, Flaw::None);
    check(&Subject { open: &|place| disk.open(place, Flaw::None), persistent: true, crash: Some(&copy) });
}

#[test]
fn every_flaw_is_caught_by_the_law_that_is_meant_for_it() {
    for (flaw, law) in FLAWS {
        let disk = Disk::default();
        let copy = |from: &str, to: &str| disk.copy(from, to, *flaw);
        let subject =
            Subject { open: &|place| disk.open(place, *flaw), persistent: true, crash: Some(&copy) };
        let found = broken(LAWS, &subject);
        assert!(found.contains(law), "{flaw:?} was not caught by {law}, only by {found:?}");
    }
}

#[test]
fn every_law_catches_something() {
    for law in LAWS {
        assert!(FLAWS.iter().any(|(_, name)| *name == law.name), "nothing shows that {} can fail", law.name);
    }
}

type Spaces = BTreeMap<Space, BTreeMap<Bytes, Bytes>>;

/// What survives, by place.
#[derive(Default)]
struct Disk(Mutex<BTreeMap<String, Arc<Mutex<Spaces>>>>);

impl Disk {
    fn open(&self, place: &str, flaw: Flaw) -> Arc<dyn StorageEngine> {
        let mut places = self.0.lock().expect("nobody panicked");
        let spaces = places.entry(place.to_owned()).or_default().clone();
        let mut known = spaces.lock().expect("nobody panicked");
        match flaw {
            Flaw::ForgetsWhenClosed => known.clear(),
            Flaw::BornWithASpace => {
                known.insert(Space::Order(9.into()), BTreeMap::new());
            }
            _ => {}
        }
        drop(known);
        Arc::new(Double { spaces, dropped: Mutex::default(), flaw })
    }

    /// Copies a place as the death of the process would leave it.
    fn copy(&self, from: &str, to: &str, flaw: Flaw) {
        let mut places = self.0.lock().expect("nobody panicked");
        let mut spaces = places[from].lock().expect("nobody panicked").clone();
        let keys = |rows: &BTreeMap<Bytes, Bytes>| rows.keys().cloned().collect::<Vec<_>>();
        for rows in spaces.values_mut() {
            let keys = keys(rows);
            let lost = match flaw {
                Flaw::LosesSyncedWhenKilled => &keys[10..],
                Flaw::LosesAHoleWhenKilled => &keys[30..31],
                _ => &[],
            };
            lost.iter().for_each(|key| drop(rows.remove(key)));
        }
        if let (Flaw::LosesHalfABatchWhenKilled, Some(mut rows)) = (flaw, spaces.last_entry()) {
            rows.get_mut().pop_last();
        }
        places.insert(to.to_owned(), Arc::new(Mutex::new(spaces)));
    }
}

struct Double {
    spaces: Arc<Mutex<Spaces>>,
    dropped: Mutex<Spaces>,
    flaw: Flaw,
}

impl Drop for Double {
    fn drop(&mut self) {
        if self.flaw == Flaw::DropIsForgottenWhenClosed {
            let dropped = std::mem::take(&mut *self.dropped.lock().expect("nobody panicked"));
            self.spaces.lock().expect("nobody panicked").extend(dropped);
        }
    }
}

fn merged(space: Space, flaw: Flaw) -> Space {
    match space {
        Space::Shard { order, shard, .. } if flaw == Flaw::MixesGenerations => {
            Space::Shard { order, shard, generation: 1 }
        }
        other => other,
    }
}

impl StorageEngine for Double {
    fn view(&self) -> Box<dyn View> {
        let picture = match self.flaw {
            Flaw::ViewsMove => self.spaces.clone(),
            _ => Arc::new(Mutex::new(self.spaces.lock().expect("nobody panicked").clone())),
        };
        Box::new(Picture { spaces: picture, flaw: self.flaw })
    }

    fn commit(&self, batch: Batch, _: Durability) -> Result<(), StorageError> {
        let big = batch.len() > 10 && self.flaw == Flaw::LosesBigBatches;
        let mut spaces = self.spaces.lock().expect("nobody panicked");
        for (space, key, value) in batch.into_rows().skip(usize::from(big)) {
            if self.flaw == Flaw::RowByRow {
                drop(spaces);
                std::thread::yield_now();
                spaces = self.spaces.lock().expect("nobody panicked");
            }
            let rows = spaces.entry(merged(space, self.flaw)).or_default();
            match value {
                Some(value) if value.is_empty() && self.flaw == Flaw::ForgetsEmptyValues => {}
                Some(value) => drop(rows.insert(key, value)),
                None if self.flaw == Flaw::KeepsDeletedRows => {}
                None => drop(rows.remove(&key)),
            }
        }
        Ok(())
    }

    fn drop_space(&self, space: Space) -> Result<(), StorageError> {
        let mut spaces = self.spaces.lock().expect("nobody panicked");
        let dropped = spaces.remove(&space);
        if let (Flaw::DropTakesNeighbours, Some(next)) =
            (self.flaw, spaces.range(space..).next().map(|(next, _)| *next))
        {
            spaces.remove(&next);
        }
        if let Some(mut rows) = dropped {
            self.dropped.lock().expect("nobody panicked").insert(space, rows.clone());
            if self.flaw == Flaw::DropLeavesRows {
                while rows.len() > 7 {
                    rows.pop_first();
                }
                spaces.insert(space, rows);
            }
        }
        Ok(())
    }

    fn spaces(&self) -> Result<Vec<Space>, StorageError> {
        Ok(self.spaces.lock().expect("nobody panicked").keys().copied().collect())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

struct Picture {
    spaces: Arc<Mutex<Spaces>>,
    flaw: Flaw,
}

impl View for Picture {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let spaces = self.spaces.lock().expect("nobody panicked");
        Ok(spaces.get(&merged(space, self.flaw)).and_then(|rows| rows.get(key)).cloned())
    }

    fn scan(&self, space: Space, range: &KeyRange) -> Rows<'_> {
        let spaces = self.spaces.lock().expect("nobody panicked");
        let start = |key: &[u8]| match self.flaw {
            Flaw::StartExclusive => key > &range.start[..],
            _ => key >= &range.start[..],
        };
        let end = |key: &[u8]| match &range.end {
            Some(end) if self.flaw == Flaw::EndInclusive => key <= &end[..],
            Some(end) => key < &end[..],
            None => true,
        };
        let rows = spaces.get(&merged(space, self.flaw)).cloned().unwrap_or_default();
        let mut rows: Vec<_> = rows.into_iter().filter(|(key, _)| start(key) && end(key)).map(Ok).collect();
        if self.flaw == Flaw::Backwards {
            rows.reverse();
        }
        Box::new(rows.into_iter())
    }
}
