//! The smart client of Shardbearer.
//!
//! It caches the shard map and sends each call straight to the herald of its shard, over one stream per radiant with
//! many calls in flight. Calls are tried again, elsewhere if need be, until their timeout; writes carry a session's
//! number, so that they **take effect exactly once** if they succeed and at most once if not. An [`Error`] always tells
//! whether the call may have happened.
//!
//! ```no_run
//! use shardbearer_client::{Client, Conditional};
//! use std::time::Duration;
//!
//! # async fn example() -> Result<(), shardbearer_client::Error> {
//! let client = Client::connect(["127.0.0.1:7400", "127.0.0.1:7401", "127.0.0.1:7402"]).await?;
//!
//! client.put("greeting", "hello").ttl(Duration::from_secs(3600)).await?;
//! if let Some(record) = client.get("greeting").await? {
//!     println!("{:?} at revision {}", record.value, record.revision);
//!     match client.put("greeting", "hi").if_revision(record.revision).await? {
//!         Conditional::Done(written) => println!("now at revision {}", written.revision),
//!         Conditional::ConditionFailed { current } => println!("somebody was faster: {current:?}"),
//!     }
//! }
//!
//! let mut scan = client.scan().prefix("user:").keys_only();
//! while let Some(page) = scan.next_page().await? {
//!     for row in page {
//!         println!("{:?}", row.key);
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! Reading order: [`Client`], `retry` (what an outcome means), `session` (exactly once), `link` and `stream` (the wire), `route`.

#![allow(clippy::disallowed_methods)] // a client lives in its user's process, which has clock and randomness but no World

mod batch;
mod builder;
mod client;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod link;
mod map;
mod ops;
mod results;
mod retry;
mod route;
mod scan;
mod session;
mod stream;

pub use bytes::Bytes;
pub use shardbearer_core::error::Refused;
pub use shardbearer_core::kv::{
    Command, Condition, ExpireWhen, Expiry, Record, RecordInfo, Refusal, Reply, Row, Scan,
};
pub use shardbearer_core::topology::Topology;
pub use shardbearer_proto::pb;

pub use crate::batch::Atomic;
pub use crate::builder::Builder;
pub use crate::client::Client;
pub use crate::error::{Error, refusal_in_words};
pub use crate::ops::{Always, Delete, Put, When};
pub use crate::results::{Conditional, Count, Deleted, Length, Number, Written};
pub use crate::scan::ScanStream;
