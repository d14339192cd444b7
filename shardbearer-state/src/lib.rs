//! Everything in Shardbearer that decides, as deterministic machines: no IO, no clock, no
//! randomness, no async. Drivers in `shardbearer` observe, call a machine, perform its effects.
//!
//! Reading order: [`keys`] (what is stored), [`shard`] (what a command does), [`controller`] (the
//! configuration), [`placement`] (who owns what), [`membership`] (who
//! replicates it), [`epochs`] (what it all was), [`bootstrap`] (how a cluster forms).

pub mod bootstrap;
pub mod controller;
pub mod epochs;
pub mod history;
pub mod keys;
pub mod membership;
pub mod migration;
pub mod placement;
pub mod shard;
