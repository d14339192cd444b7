//! The pure machines of Shardbearer: everything that decides, nothing that acts.

pub mod bootstrap;
