//! The binary as people run it: processes on loopback, killed, stopped, cut off from power, asked by foreign clients.
//!
//! | room | holds |
//! |---|---|
//! | [`harness`] | clusters of processes, their logs, who waits for what |
//! | [`dead`] | an order that is dead alone: what waits for it, and what does not |
//! | [`desk`] | what operators ask: moves of shards, seats |
//! | [`resp`] | a Redis client of a few lines that tells refused from unknown |
//! | [`history`], [`load`] | what clients did and were told, and whether the data agree |
//! | [`kills`] | `kill -9` of one, a minority, all, under load |
//! | [`powercut`], [`disk`] | the same, and everything that was not fsynced is gone |
//! | [`doubtful`] | what a start reads that is on no disk yet, and a power cut after it |
//! | [`members`] | members that change under load |
//! | [`moving`] | what writers of a shard feel while it moves; `scripts/bench-move.sh` measures it |
//! | [`past`] | earlier configurations, the way back, the story of the cluster |
//! | [`pauses`] | how long keys stand still, and that heralds come back |
//! | [`replicas`] | that they hold the same, and that it is said if they do not |
//! | [`rolling`] | restarts in order, which no client notices |
//! | [`shell`] | starts, errors, full disks: what operators see |
//! | [`foreign`] | redis-cli, redis-benchmark, redis-py, gRPC from Python |
//! | [`through`] | cluster-aware clients of others, through moves and a failover |
//! | [`trips`] | round trips of a shard: what is its own goes with it, nothing stays behind |
//! | [`up`] | a cluster in one process, with every engine |
//! | [`files`] | import and export |
//! | [`chaos`] | all of it together on each engine, judged by the oracle; `scripts/chaos.sh` runs it for long |
//!
//! Clusters run one after another: two at a time would measure each other.

#![allow(clippy::unwrap_used)] // a test that fails says where

mod chaos;
mod dead;
mod defective;
mod desk;
mod disk;
mod doubtful;
mod files;
mod foreign;
mod harness;
mod history;
mod kills;
mod load;
mod members;
mod moving;
mod past;
mod pauses;
mod powercut;
mod replicas;
mod resp;
mod rolling;
mod shell;
mod through;
mod trips;
mod up;
