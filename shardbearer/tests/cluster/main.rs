//! Whole radiants in this process: real sockets, real disks.

mod crashes;
mod engines;
mod founding;
mod harness;
mod moves;
mod moves_crashes;
