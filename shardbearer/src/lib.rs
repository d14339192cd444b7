//! Shardbearer: a sharded, strongly consistent key-value store whose replication protocol is a part you choose.

pub mod bootstrap;
pub mod kv;
