//! Named points at which a machine may crash: right before something is done to its disk, or right after it, before anybody
//! hears of it.
//!
//! What an entry, a compaction or an image does to a disk is a few changes one after the other. A crash at a moment that is
//! drawn falls between two of them now and then; a crash that is aimed falls there always.

use std::ops::RangeInclusive;
use std::sync::Arc;

use shardbearer_core::ids::OrderId;
use shardbearer_core::log::LogWrite;
use shardbearer_core::storage::{Batch, Durability, Space};

use super::Disk;
use crate::lock;
use crate::world::Life;

/// Something that is done to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    /// An entry is appended to a log.
    Append,
    /// What an engine must not forget, such as a vote, is written.
    Hard,
    /// The end of a log is cut off.
    Truncate,
    /// The beginning of a log is given up.
    Purge,
    /// What was written to the logs becomes durable.
    SyncLog,
    /// Entries are applied that change rows of shards.
    Apply,
    /// Entries are applied that change what the control order knows.
    Decide,
    /// Entries are applied that change neither.
    Advance,
    /// What was applied becomes durable, so that the log can be given up.
    SyncData,
    /// It is noted that an image takes the place of the rows.
    BeginInstall,
    /// The rows of a shard go, for those of an image.
    EmptySpace,
    /// The last rows of an image are in place, and so is that there are no others.
    EndInstall,
}

/// Right before or right after something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Point {
    /// What is done.
    pub deed: Deed,
    /// Right after it.
    pub after: bool,
}

/// All points, with what coverage calls a crash there. In such an order that whoever takes engines in turn has those that are
/// seldom come by on an engine that comes by them.
pub const POINTS: &[(Point, &str)] = &[
    (before(Deed::Append), "crash before an entry is appended"),
    (after(Deed::Append), "crash after an entry is appended"),
    (before(Deed::Truncate), "crash before a log is cut"),
    (after(Deed::Truncate), "crash after a log is cut"),
    (before(Deed::Hard), "crash before a hard state is written"),
    (after(Deed::Hard), "crash after a hard state is written"),
    (before(Deed::Purge), "crash before a log is purged"),
    (after(Deed::Purge), "crash after a log is purged"),
    (before(Deed::EmptySpace), "crash before a shard makes way for an image"),
    (after(Deed::EmptySpace), "crash after a shard made way for an image"),
    (before(Deed::SyncLog), "crash before a sync of the log"),
    (after(Deed::SyncLog), "crash after a sync of the log"),
    (before(Deed::BeginInstall), "crash before an image is begun"),
    (after(Deed::BeginInstall), "crash after an image is begun"),
    (before(Deed::EndInstall), "crash before an image is in place"),
    (after(Deed::EndInstall), "crash after an image is in place"),
    (before(Deed::Decide), "crash before a decision is applied"),
    (after(Deed::Decide), "crash after a decision is applied"),
    (before(Deed::Apply), "crash before rows are changed"),
    (after(Deed::Apply), "crash after rows are changed"),
    (before(Deed::Advance), "crash before a position is kept"),
    (after(Deed::Advance), "crash after a position is kept"),
    (before(Deed::SyncData), "crash before a sync of the data"),
    (after(Deed::SyncData), "crash after a sync of the data"),
];

const fn before(deed: Deed) -> Point {
    Point { deed, after: false }
}

const fn after(deed: Deed) -> Point {
    Point { deed, after: true }
}

impl Deed {
    /// For how many milliseconds a radiant has to be cut off before, for it to have cause: to have written what nobody else
    /// has, or to lag so far behind that others have compacted their logs. `None` where that much, or that little, is no
    /// use.
    pub fn cut_off_ms(self, long: bool) -> Option<RangeInclusive<u64>> {
        match (self, long) {
            (Deed::BeginInstall | Deed::EmptySpace | Deed::EndInstall, long) => long.then_some(2_500..=2_500),
            // Soon there are a few entries of another leader, late there is an image instead: but by then a chain has gone
            // on without it.
            (Deed::Truncate, false) => Some(600..=800),
            (Deed::Truncate, true) => Some(2_500..=2_500),
            (_, long) => (!long).then_some(0..=0),
        }
    }

    /// How often a radiant does it within a second or so, at least: a crash may be at any of these.
    pub fn often(self) -> u32 {
        match self {
            Deed::Append | Deed::SyncLog | Deed::Apply => 40,
            Deed::Advance => 4,
            Deed::Purge | Deed::SyncData => 3,
            _ => 1,
        }
    }

    pub(super) fn of_write(write: &LogWrite) -> Deed {
        match write {
            LogWrite::Append(_) => Deed::Append,
            LogWrite::Hard(_) => Deed::Hard,
            LogWrite::Truncate { .. } => Deed::Truncate,
            LogWrite::Purge { .. } => Deed::Purge,
        }
    }

    /// What a commit is, by its rows; `None` for what is not told apart.
    pub(super) fn of_commit(batch: &Batch, durability: Durability) -> Option<Deed> {
        if let Some((_, _, value)) = batch.iter().find(|(space, key, _)| is_install(*space, key)) {
            return Some(if value.is_some() { Deed::BeginInstall } else { Deed::EndInstall });
        }
        match durability {
            Durability::Synced => batch.is_empty().then_some(Deed::SyncData),
            Durability::Buffered if batch.iter().any(|(space, ..)| matches!(space, Space::Shard { .. })) => {
                Some(Deed::Apply)
            }
            Durability::Buffered if batch.iter().any(|(space, key, _)| is_decision(space, key)) => {
                Some(Deed::Decide)
            }
            Durability::Buffered => Some(Deed::Advance),
        }
    }
}

/// Where an order notes that an image takes the place of its rows, see `shardbearer::order::install`.
const INSTALLING: &[u8] = b"\xffinstalling";

/// What begins with this byte is the applier's own.
fn is_decision(space: Space, key: &[u8]) -> bool {
    space == Space::Order(OrderId::CONTROL) && key.first() != Some(&0xff)
}

fn is_install(space: Space, key: &[u8]) -> bool {
    matches!(space, Space::Order(_)) && key == INSTALLING
}

/// A crash that is to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aim {
    point: Point,
    /// How often the point is passed unharmed before.
    spared: u32,
}

impl Disk {
    /// Lets the machine crash when it comes by this point, after it came by so often unharmed. Forgotten when it crashes
    /// otherwise.
    pub fn aim(&self, point: Point, spared: u32) {
        lock(&self.state).aim = Some(Aim { point, spared });
    }

    /// The life comes by a point. Whether it ended there: then nothing of what follows is done.
    pub(super) fn pass(&self, life: &Arc<Life>, deed: Deed, after: bool) -> bool {
        let point = Point { deed, after };
        {
            let mut state = lock(&self.state);
            let Some(aim) = state.aim.as_mut().filter(|aim| aim.point == point) else { return false };
            if let Some(spared) = aim.spared.checked_sub(1) {
                aim.spared = spared;
                return false;
            }
            state.aim = None;
        }
        let name = POINTS.iter().find(|(known, _)| *known == point).expect("all points have names").1;
        self.universe.trace.cover(name);
        self.universe.trace.cover("crash at a point");
        self.universe.event(format_args!("{}: {name}", life.name()));
        life.kill();
        true
    }

    /// Whether an order's rows are being replaced by an image.
    pub(super) fn installs(&self, order: OrderId) -> bool {
        let live = lock(&self.state).storage.live();
        live.get(&Space::Order(order)).is_some_and(|rows| rows.contains_key(INSTALLING))
    }
}
