//! How much may happen in what is explored.

use super::doubles::Double;
use super::*;
use crate::migration::{Driver, Pace};

/// What is explored.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Drivers that live at the same time.
    pub drivers: usize,
    /// Messages or answers lost, in all.
    pub losses: u8,
    /// Crashes of drivers, in all.
    pub crashes: u8,
    /// Requests of the client.
    pub writes: u64,
    /// Whether the operator may call it off.
    pub cancel: bool,
    /// Whether those who took part may be taken for gone at any moment, and not be waited for.
    pub gone: bool,
    /// From one in so many states the way to the end is tried; 0: from none.
    pub ends_every: u64,
    /// How many bytes of rows the source is asked for at once; 0: more than there are.
    pub piece: u64,
    /// Whether a part of the shard moves instead of all of it.
    pub split: bool,
    pub double: Option<Double>,
}

impl Bounds {
    /// One driver, and nothing goes wrong.
    pub const CALM: Bounds = Bounds {
        drivers: 1,
        losses: 0,
        crashes: 0,
        writes: 0,
        cancel: false,
        gone: false,
        ends_every: 0,
        piece: 0,
        split: false,
        double: None,
    };

    pub(super) fn driver(&self, record: &Migration) -> Driver {
        let pace = if self.piece == 0 { Pace::default() } else { Pace::of_pieces(self.piece) };
        Driver::new(record.clone(), pace)
    }
}
