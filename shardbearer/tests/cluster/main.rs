//! Whole radiants in this process: real sockets, real disks.

mod engines;
mod founding;
mod harness;
