//! The oracle: what clients saw of a key-value store, and whether one store that does one thing at a time could have
//! shown it to them. Pure: a history is data, times are numbers, and no check asks a clock.
//!
//! ```text
//!   lines of JSON ──json::parse──▶ [Operation] ──partition──▶ one history per key ──search──▶ linearizable,
//!   (docs/history.md)                  ▲                      (or per keys that                violation or
//!   Recorder of shardbearer-sim ───────┘                       one batch joins)                gave up
//!                                                                                │
//!                                              the smallest window that is wrong ◀──window──┘
//! ```
//!
//! [`register`] says what one key does, and knows nothing of time but expiries; [`search`] looks for an order and knows
//! nothing of keys; [`partition`] cuts a history into parts that can be judged alone, which is exact because
//! linearizability is local (Herlihy and Wing 1990, theorem 1). [`check`] puts them together.
//!
//! Three rules that make the answer worth something:
//! - An operation that was *refused* provably never happened. It takes no part, so that whoever read its value has read
//!   something that nobody wrote.
//! - An operation whose outcome is *unknown* may take effect once at any time after its start, also long after its call
//!   ended, or never.
//! - A search that exceeds its limit has *given up*, and that is no pass.
//!
//! That a key with an expiry disappears is checked where [`Options::late_ns`] says by when; that it does not come back, always.
//! What is not checked: the times of expiry that a store reports. A failed condition on a revision that nobody saw is believed.

mod check;
pub mod json;
mod model;
mod needs;
mod partition;
mod register;
mod search;
mod text;
mod window;

#[cfg(test)]
mod tests;

pub use self::check::{Options, Report, Violation, check};
pub use self::model::{Action, Answer, Before, Kind, Lifetime, Operation, Outcome, Row, Scan, Seen, Step};
