//! The vocabulary of Shardbearer and the seams between its parts.
//!
//! This crate holds plain values and traits: no IO, no async runtime, no wire format. A replication
//! protocol of your own needs nothing but this crate; start at [`protocol`].
//!
//! Reading order: [`ids`], [`kv`], [`topology`], [`engine`], [`protocol`], [`log`], [`storage`], [`machine`].

pub mod bootstrap;
pub mod control;
pub mod engine;
pub mod error;
pub mod ids;
pub mod kv;
pub mod limits;
pub mod log;
pub mod machine;
pub mod membership;
pub mod migration;
pub mod placement;
pub mod protocol;
pub mod rebalancing;
pub mod slots;
pub mod storage;
pub mod topology;
pub mod transport;
pub mod world;
