//! A ledger as a machine, honest or with one flaw.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::log::LogPos;
use shardbearer_core::machine::{StateMachine, Workspace};
use shardbearer_core::storage::{KeyRange, Space, StorageError, View};
use shardbearer_sim::conformance::machine::{Subject, check, laws};
use shardbearer_sim::conformance::suite::caught;

use super::assert_documented;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    LooksAtTheClock,
    KeepsItInMind,
    CountsWithinABatch,
    HasAnUnknownSpace,
    LoadsOnTop,
    ReadsTheNeighbour,
    BelievesItsRows,
}

/// Each with the law that is meant to find it.
const FLAWS: &[(Flaw, &str)] = &[
    (Flaw::LooksAtTheClock, "the_same_commands_leave_the_same_rows_and_replies"),
    (Flaw::KeepsItInMind, "a_machine_that_starts_anew_goes_on_the_same"),
    (Flaw::CountsWithinABatch, "batches_decide_nothing"),
    (Flaw::HasAnUnknownSpace, "a_snapshot_is_its_spaces"),
    (Flaw::LoadsOnTop, "what_was_not_committed_never_was"),
    (Flaw::ReadsTheNeighbour, "it_keeps_to_its_own_rows"),
    (Flaw::BelievesItsRows, "damaged_rows_are_no_panic"),
];

const ORDER: OrderId = OrderId(2);
const SPACE: Space = Space::Order(ORDER);
const HIDDEN: Space = Space::Shard { order: ORDER, shard: ShardId(1), generation: 1 };
const NEIGHBOUR: Space = Space::Order(OrderId(3));

/// What passes for a clock here: it is different every time.
static CLOCK: AtomicU64 = AtomicU64::new(0);

/// Adds to accounts; keeps the sum of all in a field, and in no row.
struct Ledger {
    flaw: Flaw,
    sum: u64,
    /// Commands since the start.
    seen: u64,
    /// Commands since the last commit.
    batch: u64,
}

impl Ledger {
    fn new(flaw: Flaw) -> Ledger {
        Ledger { flaw, sum: 0, seen: 0, batch: 0 }
    }
}

fn number(row: &Bytes) -> Result<u64, StorageError> {
    let bytes = <[u8; 8]>::try_from(row.as_ref()).map_err(|_| StorageError::Corrupt("no number".into()))?;
    Ok(u64::from_be_bytes(bytes))
}

impl StateMachine for Ledger {
    type Command = (u8, u64);
    type Reply = (u64, u64);

    fn apply(&mut self, _: LogPos, (account, amount): (u8, u64), work: &mut Workspace<'_>) -> (u64, u64) {
        let key = [account];
        let had = work.get(SPACE, &key).and_then(|row| number(&row).ok()).unwrap_or(0);
        (self.seen, self.batch) = (self.seen + 1, self.batch + 1);
        self.sum = self.sum.wrapping_add(amount);
        let now = had.wrapping_add(amount).wrapping_add(match self.flaw {
            Flaw::LooksAtTheClock => CLOCK.fetch_add(1, Ordering::Relaxed),
            Flaw::KeepsItInMind => self.seen,
            Flaw::CountsWithinABatch => self.batch,
            Flaw::ReadsTheNeighbour => work.scan(NEIGHBOUR, &KeyRange::all(), 100).len() as u64,
            _ => 0,
        });
        work.put(SPACE, key.to_vec(), now.to_be_bytes().to_vec());
        if self.flaw == Flaw::HasAnUnknownSpace {
            work.put(HIDDEN, key.to_vec(), now.to_be_bytes().to_vec());
        }
        // Another sum than that of the rows would be a flaw of this double.
        let sum = if now == had.wrapping_add(amount) { self.sum } else { 0 };
        (now, sum)
    }

    fn load(&mut self, view: &dyn View) -> Result<(), StorageError> {
        if self.flaw != Flaw::LoadsOnTop {
            self.sum = 0;
        }
        (self.seen, self.batch) = (0, 0);
        for row in view.scan(SPACE, &KeyRange::all()) {
            let (_, row) = row?;
            self.sum = self.sum.wrapping_add(match self.flaw {
                Flaw::BelievesItsRows => u64::from_be_bytes(row.as_ref().try_into().expect("eight bytes")),
                _ => number(&row)?,
            });
        }
        Ok(())
    }

    fn spaces(&self) -> Vec<Space> {
        vec![SPACE]
    }

    fn take_dropped(&mut self) -> Vec<Space> {
        self.batch = 0;
        Vec::new()
    }
}

fn command(rng: &mut StdRng, _: u64) -> (u8, u64) {
    (rng.random_range(0..5), rng.random_range(0..100))
}

#[test]
fn an_honest_machine_keeps_every_law() {
    check(&Subject { new: &|| Ledger::new(Flaw::None), order: ORDER, command: &command });
}

#[test]
fn every_flaw_is_caught_by_the_law_that_is_meant_for_it() {
    for (flaw, law) in FLAWS {
        let subject = Subject { new: &|| Ledger::new(*flaw), order: ORDER, command: &command };
        caught(&laws(), law, &subject);
    }
    assert_documented(FLAWS);
}
