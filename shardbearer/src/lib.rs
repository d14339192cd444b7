//! Shardbearer: a sharded, strongly consistent key-value store whose replication protocol is a part you choose.
//!
//! Reading order: [`kv`] (what gateways ask), [`door`] and [`router`] (to which order), [`order`] (group commit,
//! reads, applying), [`engine`] (replication), [`storage`] (log and data).

mod beat;
#[allow(clippy::disallowed_methods)] // a load generator measures real time
pub mod bench;
pub mod bootstrap;
#[allow(clippy::disallowed_methods)] // people wait in real time
pub mod cli;
pub mod cluster;
pub mod config;
pub mod door;
pub mod engine;
#[doc(hidden)]
pub mod fuzzing;
pub mod gateway;
pub mod kv;
pub mod leads;
pub mod map;
pub mod migrate;
pub mod node;
pub mod order;
pub mod report;
pub mod router;
pub mod sessions;
pub mod storage;
pub mod story;
pub mod telemetry;
pub mod transport;
pub mod watch;
pub mod world;
