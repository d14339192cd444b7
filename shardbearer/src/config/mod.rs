//! The configuration of a radiant: a TOML file, `SHARDBEARER_SECTION_KEY` variables over it, `--set` over those.
//!
//! Every key has a default with its reason in [`mod@reference`]; what is not there is an error that names the
//! nearest key that is. [`check`] holds the rules that no type can express.

mod check;
pub mod reference;
mod source;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shardbearer_core::engine::Timing;
use thiserror::Error;

pub use self::source::{load, parse};

/// A configuration that cannot be used: where, and what is wrong with it.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{}{why}", place(.file, .line))]
pub struct ConfigError {
    /// The file, if it comes from one.
    pub file: Option<String>,
    /// The line, counted from 1, if there is one to name.
    pub line: Option<usize>,
    /// A sentence that says what to do.
    pub why: String,
}

fn place(file: &Option<String>, line: &Option<usize>) -> String {
    match (file, line) {
        (Some(file), Some(line)) => format!("{file}:{line}: "),
        (Some(file), None) => format!("{file}: "),
        (None, _) => String::new(),
    }
}

/// Everything a radiant can be told. The meaning of each key is in [`mod@reference`], and only there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // documented as data, so that docs/config.md is made from it
pub struct Config {
    pub radiant: Radiant,
    pub listen: Listen,
    pub advertise: Advertise,
    pub bootstrap: Bootstrap,
    pub consensus: Consensus,
    pub membership: Membership,
    pub rebalance: Rebalance,
    pub storage: Storage,
    pub limits: Limits,
    pub telemetry: Telemetry,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // see `Config`
pub struct Radiant {
    pub name: String,
    pub data_dir: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // see `Config`
pub struct Listen {
    pub grpc: String,
    pub resp: String,
    pub http: String,
    pub allow_insecure: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // see `Config`
pub struct Advertise {
    pub grpc: String,
    pub resp: String,
    pub http: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // see `Config`
pub struct Bootstrap {
    pub neighbors: Vec<String>,
    pub expect: u32,
    pub orders: usize,
    pub replication: usize,
    pub shards: usize,
    pub window_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // see `Config`
pub struct Consensus {
    pub engine: String,
    pub engines: Vec<String>,
    pub heartbeat_ms: u64,
    pub election_timeout_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // see `Config`
pub struct Membership {
    pub suspicion_ms: u64,
    pub down_grace_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // see `Config`
pub struct Rebalance {
    pub settle_ms: u64,
    pub cool_down_ms: u64,
    pub gain_min_percent: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // see `Config`
pub struct Storage {
    pub engine: String,
    pub cache_mib: u64,
    pub log_segment_mib: u64,
    pub log_cache_mib: u64,
    pub reserve_mib: u64,
    pub audit_seconds: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // see `Config`
pub struct Limits {
    pub value_bytes_max: usize,
    pub resp_connections_max: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // see `Config`
pub struct Telemetry {
    pub log: String,
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs, an object per line.
    Json,
}

/// What switches a door off.
pub const OFF: &str = "off";

impl Default for Radiant {
    fn default() -> Self {
        Radiant { name: "radiant".into(), data_dir: "data".into() }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Listen {
            grpc: "127.0.0.1:7400".into(),
            resp: "127.0.0.1:6400".into(),
            http: "127.0.0.1:7480".into(),
            allow_insecure: false,
        }
    }
}

impl Default for Bootstrap {
    fn default() -> Self {
        Bootstrap {
            neighbors: Vec::new(),
            expect: 1,
            orders: 0,
            replication: 3,
            shards: 64,
            window_ms: 10_000,
        }
    }
}

impl Default for Consensus {
    fn default() -> Self {
        Consensus {
            engine: "openraft".into(),
            engines: Vec::new(),
            heartbeat_ms: 100,
            election_timeout_ms: 500,
        }
    }
}

impl Default for Membership {
    fn default() -> Self {
        Membership { suspicion_ms: 1_500, down_grace_ms: 30_000 }
    }
}

impl Default for Rebalance {
    fn default() -> Self {
        Rebalance { settle_ms: 5_000, cool_down_ms: 60_000, gain_min_percent: 10 }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Storage {
            engine: "fjall".into(),
            cache_mib: 128,
            log_segment_mib: 64,
            log_cache_mib: 64,
            reserve_mib: 256,
            audit_seconds: 86_400,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits { value_bytes_max: shardbearer_core::limits::VALUE_BYTES_MAX, resp_connections_max: 10_000 }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Telemetry { log: "info,openraft=error".into(), format: LogFormat::Text }
    }
}

impl Consensus {
    /// The times an engine keeps to.
    pub fn timing(&self) -> Timing {
        Timing {
            heartbeat: Duration::from_millis(self.heartbeat_ms),
            election_min: Duration::from_millis(self.election_timeout_ms / 2),
            election_max: Duration::from_millis(self.election_timeout_ms),
        }
    }
}
