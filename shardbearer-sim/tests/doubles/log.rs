//! A log in memory, honest or with one flaw.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{Bounds, LogDone, LogError, LogPos, LogRecord, LogStore, LogWrite};
use shardbearer_sim::conformance::Subject;
use shardbearer_sim::conformance::log::{LAWS, check};

use super::broken;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    ForgetsWhenClosed,
    LosesTheTailWhenClosed,
    LosesTheHardStateWhenClosed,
    LosesEverythingWhenKilled,
    BringsRemovedOrdersBack,
    RemovesWhenClosed,
    RemovesOnlyEntries,
    BornWithAnOrder,
    EndInclusive,
    IgnoresBytesMax,
    CutsToNothing,
    AcceptsGaps,
    AppliesHalfOfABadBatch,
    TruncatesOneTooFew,
    StartsLaterInThePurgedPart,
    PurgesOnlyWhatIsThere,
    KeepsTheFirstHardState,
    MixesOrders,
    LosesAnswers,
}

/// Each with a law that is meant to find it.
const FLAWS: &[(Flaw, &str)] = &[
    (Flaw::ForgetsWhenClosed, "everything_acknowledged_is_there_when_opened_again"),
    (Flaw::LosesTheTailWhenClosed, "random_writes_and_restarts_agree_with_a_model"),
    (Flaw::LosesTheHardStateWhenClosed, "everything_acknowledged_is_there_when_opened_again"),
    (Flaw::LosesEverythingWhenKilled, "everything_acknowledged_survives_the_death_of_the_process"),
    (Flaw::BringsRemovedOrdersBack, "a_removed_order_stays_forgotten"),
    (Flaw::RemovesWhenClosed, "a_removed_order_stays_forgotten_whenever_the_process_dies"),
    (Flaw::RemovesOnlyEntries, "a_removed_order_is_forgotten"),
    (Flaw::BornWithAnOrder, "a_new_log_is_empty"),
    (Flaw::EndInclusive, "what_was_appended_is_readable_at_once"),
    (Flaw::IgnoresBytesMax, "pages_are_cut_by_bytes_but_never_to_nothing"),
    (Flaw::CutsToNothing, "pages_are_cut_by_bytes_but_never_to_nothing"),
    (Flaw::AcceptsGaps, "a_gap_is_refused_and_nothing_of_its_batch_happens"),
    (Flaw::AppliesHalfOfABadBatch, "a_gap_is_refused_and_nothing_of_its_batch_happens"),
    (Flaw::TruncatesOneTooFew, "truncating_makes_room_for_other_entries"),
    (Flaw::StartsLaterInThePurgedPart, "purging_moves_the_bounds_and_leaves_no_gap"),
    (Flaw::PurgesOnlyWhatIsThere, "purging_beyond_the_end_empties_the_log"),
    (Flaw::KeepsTheFirstHardState, "the_hard_state_is_the_latest"),
    (Flaw::MixesOrders, "orders_are_apart"),
    (Flaw::LosesAnswers, "every_accepted_write_is_answered_also_when_the_store_closes"),
];

#[test]
fn an_honest_log_keeps_every_law() {
    let disk = Disk::default();
    check(&Subject {
        open: &|place| disk.open(place, Flaw::None),
        persistent: true,
        crash: Some(&|from, to| disk.copy(from, to)),
    });
}

#[test]
fn every_flaw_is_caught_by_the_law_that_is_meant_for_it() {
    for (flaw, law) in FLAWS {
        let found = broken_by(*flaw);
        assert!(found.contains(law), "{flaw:?} was not caught by {law}, only by {found:?}");
    }
}

#[test]
fn every_law_catches_something() {
    for law in LAWS {
        assert!(FLAWS.iter().any(|(_, name)| *name == law.name), "nothing shows that {} can fail", law.name);
    }
}

fn broken_by(flaw: Flaw) -> Vec<&'static str> {
    let disk = Disk::default();
    let copy = |from: &str, to: &str| match flaw {
        Flaw::LosesEverythingWhenKilled => {}
        _ => disk.copy(from, to),
    };
    broken(LAWS, &Subject { open: &|place| disk.open(place, flaw), persistent: true, crash: Some(&copy) })
}

/// What survives, by place.
#[derive(Default)]
struct Disk(Mutex<BTreeMap<String, Orders>>);

type Orders = Arc<Mutex<BTreeMap<OrderId, Log>>>;

#[derive(Clone, Default)]
struct Log {
    purged: LogPos,
    entries: Vec<LogRecord>,
    hard: Option<Bytes>,
}

impl Disk {
    fn open(&self, place: &str, flaw: Flaw) -> Arc<dyn LogStore> {
        let mut places = self.0.lock().expect("nobody panicked");
        let orders = places.entry(place.to_owned()).or_default().clone();
        let mut known = orders.lock().expect("nobody panicked");
        match flaw {
            Flaw::ForgetsWhenClosed => known.clear(),
            Flaw::LosesTheTailWhenClosed => known.values_mut().for_each(|log| drop(log.entries.pop())),
            Flaw::LosesTheHardStateWhenClosed => known.values_mut().for_each(|log| log.hard = None),
            Flaw::BornWithAnOrder => drop(known.entry(OrderId(9)).or_default()),
            _ => {}
        }
        drop(known);
        Arc::new(Double { orders, removed: Mutex::default(), flaw })
    }

    fn copy(&self, from: &str, to: &str) {
        let mut places = self.0.lock().expect("nobody panicked");
        let orders = places[from].lock().expect("nobody panicked").clone();
        places.insert(to.to_owned(), Arc::new(Mutex::new(orders)));
    }
}

struct Double {
    orders: Orders,
    removed: Mutex<Vec<(OrderId, Log)>>,
    flaw: Flaw,
}

impl Drop for Double {
    fn drop(&mut self) {
        let removed = std::mem::take(&mut *self.removed.lock().expect("nobody panicked"));
        let mut orders = self.orders.lock().expect("nobody panicked");
        match self.flaw {
            Flaw::BringsRemovedOrdersBack => orders.extend(removed),
            Flaw::RemovesWhenClosed => removed.iter().for_each(|(order, _)| drop(orders.remove(order))),
            _ => {}
        }
    }
}

impl Double {
    fn order(&self, order: OrderId) -> OrderId {
        if self.flaw == Flaw::MixesOrders { OrderId(2) } else { order }
    }
}

impl LogStore for Double {
    fn write(&self, order: OrderId, writes: Vec<LogWrite>, done: LogDone) -> Result<(), LogError> {
        let mut orders = self.orders.lock().expect("nobody panicked");
        let log = orders.entry(self.order(order)).or_default();
        let before = log.clone();
        for write in writes {
            if let Err(error) = log.change(write, self.flaw) {
                if self.flaw != Flaw::AppliesHalfOfABadBatch {
                    *log = before;
                }
                return Err(error);
            }
        }
        if self.flaw != Flaw::LosesAnswers {
            done(Ok(()));
        }
        Ok(())
    }

    fn entries(
        &self,
        order: OrderId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        let orders = self.orders.lock().expect("nobody panicked");
        let Some(log) = orders.get(&self.order(order)) else { return Ok(Vec::new()) };
        if range.start <= log.purged.index && self.flaw != Flaw::StartsLaterInThePurgedPart {
            return Ok(Vec::new());
        }
        let end = range.end + u64::from(self.flaw == Flaw::EndInclusive);
        let (mut found, mut bytes) = (Vec::new(), 0);
        for record in &log.entries {
            if !(range.start..end).contains(&record.position.index) {
                continue;
            }
            bytes += record.payload.len();
            let first = found.is_empty() && self.flaw != Flaw::CutsToNothing;
            if bytes > bytes_max && !first && self.flaw != Flaw::IgnoresBytesMax {
                break;
            }
            found.push(record.clone());
        }
        Ok(found)
    }

    fn bounds(&self, order: OrderId) -> Bounds {
        let orders = self.orders.lock().expect("nobody panicked");
        let log = orders.get(&self.order(order)).cloned().unwrap_or_default();
        Bounds { purged: log.purged, last: log.last(), hard: log.hard }
    }

    fn orders(&self) -> Vec<OrderId> {
        self.orders.lock().expect("nobody panicked").keys().copied().collect()
    }

    fn remove(&self, order: OrderId) -> Result<(), LogError> {
        let mut orders = self.orders.lock().expect("nobody panicked");
        if let Some(log) = orders.remove(&self.order(order)) {
            if self.flaw == Flaw::RemovesOnlyEntries {
                orders.insert(order, Log { hard: log.hard.clone(), ..Log::default() });
            }
            if self.flaw == Flaw::RemovesWhenClosed {
                orders.insert(order, log.clone());
            }
            self.removed.lock().expect("nobody panicked").push((order, log));
        }
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }

    fn held_bytes(&self, _: OrderId) -> u64 {
        0
    }
}

impl Log {
    fn last(&self) -> LogPos {
        self.entries.last().map_or(self.purged, |record| record.position)
    }

    fn change(&mut self, write: LogWrite, flaw: Flaw) -> Result<(), LogError> {
        let last = self.last().index;
        match write {
            LogWrite::Append(record) if record.position.index != last + 1 && flaw != Flaw::AcceptsGaps => {
                return Err(LogError::Misuse("a gap".into()));
            }
            LogWrite::Append(record) => self.entries.push(record),
            LogWrite::Truncate { from } => {
                let from = from + u64::from(flaw == Flaw::TruncatesOneTooFew);
                self.entries.retain(|record| record.position.index < from);
            }
            LogWrite::Hard(_) if flaw == Flaw::KeepsTheFirstHardState && self.hard.is_some() => {}
            LogWrite::Hard(hard) => self.hard = Some(hard),
            LogWrite::Purge { upto } if upto.index <= self.purged.index => {}
            LogWrite::Purge { upto } => {
                let beyond = upto.index > last && flaw == Flaw::PurgesOnlyWhatIsThere;
                self.purged = if beyond { self.last() } else { upto };
                self.entries.retain(|record| record.position.index > upto.index);
            }
        }
        Ok(())
    }
}
