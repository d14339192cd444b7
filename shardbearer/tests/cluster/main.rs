//! Whole radiants in this process: real sockets, real disks.

mod backup;
mod crashes;
mod engines;
mod founding;
mod harness;
mod members;
mod moves;
mod moves_crashes;
mod moves_full;
mod rebalance;
mod reset;
mod splits;
mod system_reset;
