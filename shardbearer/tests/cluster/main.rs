//! Whole radiants in this process: real sockets, real disks.

mod founding;
mod harness;
