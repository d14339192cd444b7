//! Shardbearer: a sharded, strongly consistent key-value store whose replication protocol is a part you choose.
//!
//! Reading order: [`node`] (what a radiant is made of), [`kv`] (the door for data), [`router`], [`order`], [`engine`],
//! [`storage`].

pub mod engine;
pub mod kv;
pub mod leads;
pub mod map;
pub mod order;
pub mod storage;
