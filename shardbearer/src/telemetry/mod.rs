//! What a radiant tells those who operate it: logs on stderr, metrics for Prometheus.
//!
//! - [`names`]: every metric, with its meaning
//! - [`logs`]: sets up `tracing` once per process
//! - [`recorder`]: one recorder per process; radiants that share a process differ by the label `radiant`
//! - [`meter`]: counts and times the requests of one gateway

pub mod logs;
pub mod meter;
pub mod names;
pub mod recorder;
