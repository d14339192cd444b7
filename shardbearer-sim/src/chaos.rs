//! Which faults happen when: drawn before the run from its seed, so that the plan can be read.
//!
//! A fault has a beginning and an end, and damages one radiant (a cut between two damages one of them). Never more radiants
//! are damaged at once than the profile's budget says.

mod plan;
mod profiles;

use crate::disk::points::Point;
use crate::disk::{Kept, Pace, Trouble};
use crate::net::Weather;

pub use self::plan::{Scope, plan};
pub use self::profiles::{PROFILES, Profile, profile};

/// Something that is done to a cluster. Radiants are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Act {
    /// Kill the radiant, with what its disk had not synced.
    Crash(usize),
    /// Stop it in an orderly way.
    Stop(usize),
    /// Start it again.
    Start(usize),
    /// Start it again in the midst of what is wrong with it.
    Restart(usize),
    /// Stop giving it the processor, or go on.
    Pause(usize, bool),
    /// Cut it off in both directions, or mend that.
    Isolate(usize, bool),
    /// Cut what it says (`true` first) or what it hears, or mend that.
    Mute(usize, bool, bool),
    /// Cut the ways between two, or mend them.
    Part(usize, usize, bool),
    /// Hold all it says for so many milliseconds.
    Clog(usize, u64),
    /// Hold what the one says to the other for so many milliseconds.
    ClogWay(usize, usize, u64),
    /// Move its wall clock by so many milliseconds.
    Jump(usize, i64),
    /// Change how long its disk takes.
    Pace(usize, Pace),
    /// Let all that waits for its data take up to so many milliseconds longer; 0: as long as usual.
    PaceData(usize, u64),
    /// Make its disk fail so; the radiant may stop.
    Fail(usize, Trouble),
    /// Turn a bit in what is kept there, which stays so whoever starts; the radiant may stop.
    Turn(usize, Kept),
    /// Let it crash when it comes by this point, after it came by so often unharmed.
    Aim(usize, Point, u32),
    /// Give it a disk that is well and has what was written.
    Mend(usize),
    /// Make its disk full, or give it space.
    Fill(usize, bool),
    /// Change the network for all.
    Weather(Weather),
}

impl Act {
    /// The kind of damage, where it begins; `None` for what ends one.
    pub fn damage(&self) -> Option<&'static str> {
        Some(match self {
            Act::Crash(_) => "crash",
            Act::Stop(_) => "orderly stop",
            Act::Pause(_, true) => "pause",
            Act::Isolate(_, true) => "isolation",
            Act::Mute(_, _, true) => "one-way cut",
            Act::Part(_, _, true) => "cut between two",
            Act::Clog(..) => "clog",
            Act::Jump(..) => "clock jump",
            Act::Pace(_, pace) if *pace != Pace::USUAL => "slow disk",
            Act::Fail(_, Trouble::Unreadable) => "unreadable disk",
            Act::Fail(_, Trouble::Damaged) => "damaged disk",
            Act::Fail(_, Trouble::FailingData) => "failing data",
            Act::Fail(_, Trouble::NoRoom) => "no room",
            Act::Fail(_, Trouble::Failing) => "failing disk",
            Act::Turn(_, Kept::Log | Kept::NextRead) => "bit turned in the log",
            Act::Turn(_, Kept::Data) => "bit turned in the data",
            Act::ClogWay(..) => "way clogged alone",
            Act::PaceData(_, longest) if *longest > 0 => "slow data",
            Act::Restart(_) => "restart in the midst of a fault",
            Act::Fill(_, true) => "full disk",
            _ => return None,
        })
    }
}

impl Act {
    /// Who is damaged from now on (`true`) or no longer, if it lasts until another act ends it.
    pub fn damaged(&self) -> Option<(usize, bool)> {
        Some(match *self {
            Act::Crash(one) | Act::Stop(one) | Act::Aim(one, ..) | Act::Fail(one, _) | Act::Turn(one, _) => {
                (one, true)
            }
            Act::Start(one) => (one, false),
            Act::Pause(one, begins)
            | Act::Isolate(one, begins)
            | Act::Mute(one, _, begins)
            | Act::Part(one, _, begins)
            | Act::Fill(one, begins) => (one, begins),
            Act::Pace(one, pace) => (one, pace != Pace::USUAL),
            Act::PaceData(one, longest) => (one, longest > 0),
            // The first is in the midst of what is counted, the second comes before a start.
            Act::Restart(_) | Act::Mend(_) => return None,
            Act::Clog(..) | Act::ClogWay(..) | Act::Jump(..) | Act::Weather(_) => return None,
        })
    }
}

/// An act and its moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Milliseconds since the beginning.
    pub at_ms: u64,
    /// What is done.
    pub act: Act,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Crash and restart.
    Crash,
    /// An outage so long that others compact their logs meanwhile.
    Outage,
    /// An orderly restart.
    Restart,
    /// A pause.
    Pause,
    /// Isolation.
    Isolation,
    /// A cut in one direction.
    OneWay,
    /// A cut between two.
    Parting,
    /// A clog.
    Clog,
    /// Its ways are clogged one after another, and go on in another order.
    Swizzle,
    /// A jump of the wall clock.
    Jump,
    /// A slow disk.
    SlowDisk,
    /// A disk that fails when it is written to, cannot be read, or gives back other bytes.
    FailingDisk,
    /// A disk that is nearly full, as the radiant sees in time.
    FullDisk,
    /// Data that cannot be written, for good or for want of room.
    FailingData,
    /// Data that are slow.
    SlowData,
    /// A bit that has turned on the disk, and is still so after restarts.
    TurnedBit,
    /// A crash right before or right after something is done to the disk.
    AtAPoint,
}
