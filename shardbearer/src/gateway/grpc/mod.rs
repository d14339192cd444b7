//! The gRPC door: data, cluster, health, reflection, and the service of peers on the same port.
//!
//! - `translate`: messages to calls, results to messages
//! - `coalesce`: requests that wait together become one for the door
//! - `stream`: `Kv.Stream`, the fast path
//! - `kv`, `admin`: the services
//! - `server`: all of it on one listener
//!
//! What cannot be understood or is not allowed is refused inside the result, so that one bad call never costs
//! the others their stream.

mod admin;
mod coalesce;
#[doc(hidden)]
pub mod fuzz;
mod kv;
mod server;
mod stream;
#[cfg(test)]
mod tests;
mod translate;

pub use self::server::{Settings, serve};
