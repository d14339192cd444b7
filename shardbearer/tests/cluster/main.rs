//! Whole radiants in this process: real sockets, real disks.

mod backup;
mod crashes;
mod engines;
mod founding;
mod harness;
mod members;
mod moves;
mod moves_crashes;
mod rebalance;
mod reset;
mod system_reset;
