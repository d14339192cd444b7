//! Parts of one's own, each as small as it can honestly be: what an author outside writes for a seam of Shardbearer. The laws of
//! each are one line in `tests/laws.rs`. Engines and protocols have an example of their own, `own-engine`.
//!
//! | seam | here | what it is |
//! |---|---|---|
//! | `ShardingScheme` | [`scheme::FirstByte`] | shards are ranges of keys |
//! | `Placement` | [`placement::Fair`] | even by weight, few moves |
//! | `StateMachine` | [`machine::Tally`] | named numbers that are added to |
//! | `Transport` | [`transport::Room`] | radiants of one process, without a socket |
//! | `StorageEngine`, `LogStore` | [`counted::Counted`] | counts what goes to any other one |

pub mod counted;
pub mod machine;
pub mod placement;
pub mod scheme;
pub mod transport;
