//! What tests Shardbearer and never ships with it. [`conformance`] has the laws that every implementation of a
//! trait keeps, for our own plug-ins and for those of others; [`protocol`] runs pure protocols without a runtime: golden
//! traces, random walks, every possible way; [`recorder`] writes down what clients see, for the oracle in
//! `shardbearer-state`, in the terms of [`actions`].
//!
//! The rest is a virtual world in which whole radiants run on one thread, on virtual time, from one seed:
//! [`world`] (time, randomness, tasks, lives), [`net`], [`disk`], [`chaos`] (which faults when), [`trace`] (what
//! happened, and whether it happens again), [`history`] (what clients saw, and whether they may). What puts radiants into
//! it is `shardbearer/tests/sim`, because only that may know both.

pub mod actions;
pub mod chaos;
pub mod conformance;
pub mod disk;
pub mod history;
pub mod net;
pub mod protocol;
pub mod recorder;
pub mod trace;
pub mod world;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks also after a panic elsewhere, which has its own report.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
