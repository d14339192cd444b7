//! What is wrong with a disk for longer than one life: bits that turned, no room, slowness; and how it is mended.
//!
//! A bit that turned is not to be seen where the rows are: it is known beside them, and whoever reads there is told by
//! the checksum. So it stays through restarts, moves with what it is in, and is gone with it.

use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{LogError, LogPos, LogRecord};
use shardbearer_core::storage::{Space, StorageError};

use super::{Disk, Flaw, Kept, State, Trouble};
use crate::lock;

/// Where a bit has turned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    Entry(OrderId, LogPos),
    /// In the first entry that is read from now on: only then is it known which that is.
    NextRead,
    /// With the hard state that it was: a later one is whole.
    Hard(OrderId, Bytes),
    /// With the value that it had: another one that is written there is whole.
    Row(Space, Bytes, Bytes),
}

/// How many entries of an order's end count as its last.
const LATE: u64 = 20;

/// What every reader of a damaged place is told.
const CHECKSUM: &str = "a checksum does not match on the disk";

impl Disk {
    /// Makes the disk fail from now on.
    pub fn set_trouble(&self, trouble: Trouble) {
        lock(&self.state).trouble = trouble;
    }

    /// Turns a bit in something that is durable; whether there was anything. Only one at a time is turned.
    pub fn turn(&self, kept: Kept) -> bool {
        let mut state = lock(&self.state);
        let State { rng, log, storage, turned, .. } = &mut *state;
        let place = match kept {
            Kept::Log => {
                let (entries, hard) = (log.durable_positions(), log.durable_hard());
                match rng.random_range(0..6) {
                    0..=2 if !hard.is_empty() => {
                        let (order, hard) = hard[rng.random_range(0..hard.len())].clone();
                        self.universe.trace.cover("bit turned in a hard state");
                        Some(Turned::Hard(order, hard))
                    }
                    // Of an order's last, which those who lag behind are sent.
                    3 | 4 if !entries.is_empty() => {
                        let (order, position) = entries[rng.random_range(0..entries.len())];
                        let last = entries.iter().rfind(|(of, _)| *of == order);
                        let back = rng.random_range(0..LATE);
                        let late = last.map_or(position, |(_, last)| *last);
                        let found = entries
                            .iter()
                            .find(|(of, at)| *of == order && at.index == late.index.saturating_sub(back));
                        Some(Turned::Entry(order, found.map_or(late, |(_, at)| *at)))
                    }
                    _ => (!entries.is_empty()).then(|| {
                        let (order, position) = entries[rng.random_range(0..entries.len())];
                        Turned::Entry(order, position)
                    }),
                }
            }
            Kept::NextRead => Some(Turned::NextRead),
            Kept::Data => {
                let spaces: Vec<_> = storage.durable().iter().filter(|(_, rows)| !rows.is_empty()).collect();
                (!spaces.is_empty()).then(|| {
                    let (space, rows) = spaces[rng.random_range(0..spaces.len())];
                    let (key, value) = rows.iter().nth(rng.random_range(0..rows.len())).expect("so many");
                    Turned::Row(*space, key.clone(), value.clone())
                })
            }
        };
        let found = place.is_some();
        self.universe.event(format_args!("{}: a bit turns in {place:?}", self.name));
        *turned = place;
        found
    }

    /// Lets all that waits for the data take up to so many milliseconds longer.
    pub fn set_data_pace(&self, ms_max: u64) {
        lock(&self.state).data_ms_max = ms_max;
    }

    /// Everything is as it was written, can be read and written, and is as fast as usual.
    pub fn mend(&self) {
        let mut state = lock(&self.state);
        (state.trouble, state.turned, state.data_ms_max) = (Trouble::None, None, 0);
    }

    /// Whether it is ill in a way that outlives the process.
    pub fn is_ill(&self) -> bool {
        let state = lock(&self.state);
        state.turned.is_some() || state.trouble == Trouble::NoRoom
    }

    /// How long something that waits for the data does so beyond the usual.
    pub fn data_takes(&self) -> Duration {
        let mut state = lock(&self.state);
        let longest = state.data_ms_max;
        if longest == 0 {
            return Duration::ZERO;
        }
        let takes = state.rng.random_range(1..=longest);
        drop(state);
        self.universe.trace.cover("work waited for slow data");
        Duration::from_millis(takes)
    }

    /// What a start finds out about the log, all of which it reads.
    ///
    /// # Errors
    /// Of an entry that is damaged.
    pub fn read_log(&self) -> Result<(), LogError> {
        let state = lock(&self.state);
        let (refused, error) = match &state.turned {
            Some(Turned::Entry(order, position)) => {
                let there = state.log.durable(*order).1.iter().any(|record| record.position == *position);
                let entry = format!("entry {} of order {order}", position.index);
                (there.then_some("start refused for a damaged log"), damaged(&entry))
            }
            Some(Turned::Hard(order, was)) => {
                let there = state.log.durable_hard().contains(&(*order, was.clone()));
                let hard = format!("the hard state of order {order}");
                (there.then_some("start refused for a damaged hard state"), damaged(&hard))
            }
            Some(Turned::NextRead | Turned::Row(..)) | None => return Ok(()),
        };
        drop(state);
        let Some(refused) = refused else { return Ok(()) };
        self.universe.trace.cover(refused);
        Err(error)
    }

    /// Looks at entries that are read.
    pub(super) fn check_entries(&self, order: OrderId, read: &[LogRecord]) -> Result<(), LogError> {
        let mut state = lock(&self.state);
        if let (Some(Turned::NextRead), Some(first)) = (&state.turned, read.first()) {
            state.turned = Some(Turned::Entry(order, first.position));
        }
        let Some(Turned::Entry(of, at)) = &state.turned else { return Ok(()) };
        if *of != order || !read.iter().any(|record| record.position == *at) {
            return Ok(());
        }
        self.universe.trace.cover("turned bit met in the log");
        Err(damaged(&format!("entry {} of order {order}", at.index)))
    }

    /// Looks at a row that is read: what a storage makes of a damaged one.
    pub(super) fn check_row(&self, space: Space, key: &[u8], value: Bytes) -> Result<Bytes, StorageError> {
        match &lock(&self.state).turned {
            Some(Turned::Row(of, at, was)) if *of == space && at == key && *was == value => {}
            Some(_) | None => return Ok(value),
        }
        self.universe.trace.cover("turned bit met in the data");
        if self.flaw == Some(Flaw::ChecksNothing) {
            let mut other = value.to_vec();
            other.last_mut().into_iter().for_each(|byte| *byte ^= 1);
            return Ok(other.into());
        }
        Err(StorageError::Corrupt(format!("{CHECKSUM}, in a row of {space:?}")))
    }
}

fn damaged(place: &str) -> LogError {
    let what = format!("{CHECKSUM}, in {place}");
    LogError::Corrupt { file: "the segment".to_owned(), offset: 0, what }
}
