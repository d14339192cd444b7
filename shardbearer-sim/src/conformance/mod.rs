//! One suite per trait, one line to run it:
//!
//! ```text
//! conformance::log::check(&Subject { open: &|place| open_in(place), crash: Some(&copy), persistent: true });
//! ```
//!
//! A law is a function that returns what is broken. [`check`] runs all of a suite, prints those that do
//! not apply, and panics with everything that is broken. Each law has been seen to fail on a
//! deliberately broken double: those of engines in `shardbearer/tests/laws/doubles`, all others in
//! `shardbearer-sim/tests/doubles`.

pub mod engine;
pub mod log;
pub mod machine;
pub mod placement;
pub mod protocol;
pub mod scheme;
pub mod storage;
pub mod suite;
pub mod transport;

use std::fmt;
use std::sync::Arc;

/// An implementation under test.
pub struct Subject<'a, T: ?Sized> {
    /// Opens what is kept at a place; the place is a name, and is empty when it is first used. It is
    /// opened again only after everything from the last time was dropped.
    pub open: &'a dyn Fn(&str) -> Arc<T>,
    /// Whether what was written is there when a place is opened again.
    pub persistent: bool,
    /// Copies one place to another as it is on disk, while it is in use: what the death of the process would
    /// leave. `None` where that cannot be told.
    pub crash: Option<Copy<'a>>,
}

/// Copies what is at the first place to the second.
pub type Copy<'a> = &'a dyn Fn(&str, &str);

/// What is broken, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<shardbearer_core::log::LogError> for Broken {
    fn from(error: shardbearer_core::log::LogError) -> Self {
        Broken(format!("unexpected error: {error}"))
    }
}

impl From<shardbearer_core::storage::StorageError> for Broken {
    fn from(error: shardbearer_core::storage::StorageError) -> Self {
        Broken(format!("unexpected error: {error}"))
    }
}

/// What an implementation must be able to do for a law to apply to it.
#[derive(Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: the law is for all.
    Nothing,
    /// [`Subject::persistent`].
    Persistence,
    /// [`Subject::crash`].
    Crash,
}

/// A law of the trait `T`.
pub struct Law<T: ?Sized + 'static> {
    /// A sentence, and the name of the place that the law uses.
    pub name: &'static str,
    /// To whom it applies.
    pub needs: Needs,
    /// Finds out.
    pub run: fn(&Subject<'_, T>, &str) -> Result<(), Broken>,
}

/// Runs a suite.
///
/// # Panics
/// With everything that is broken, if anything is.
pub fn check<T: ?Sized>(laws: &[Law<T>], subject: &Subject<'_, T>) {
    let mut broken = Vec::new();
    for law in laws {
        match violation(law, subject) {
            Some(Ok(())) => {}
            Some(Err(what)) => broken.push(format!("{}: {what}", law.name)),
            None => println!("skipped, as {:?} is not declared: {}", law.needs, law.name),
        }
    }
    assert!(broken.is_empty(), "{} of {} laws are broken:\n{}", broken.len(), laws.len(), broken.join("\n"));
}

/// Runs one law; `None` if it does not apply.
pub fn violation<T: ?Sized>(law: &Law<T>, subject: &Subject<'_, T>) -> Option<Result<(), Broken>> {
    let applies = match law.needs {
        Needs::Nothing => true,
        Needs::Persistence => subject.persistent,
        Needs::Crash => subject.persistent && subject.crash.is_some(),
    };
    applies.then(|| (law.run)(subject, law.name))
}

/// Returns what is broken unless a condition holds.
macro_rules! ensure {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err($crate::conformance::Broken(format!($($words)+)));
        }
    };
}

/// Returns what is broken unless two values are equal.
macro_rules! ensure_eq {
    ($actual:expr, $expected:expr, $($words:tt)+) => {
        match (&$actual, &$expected) {
            (actual, expected) => {
                if actual != expected {
                    let words = format!($($words)+);
                    let words = format!("{words}: {actual:?}, expected {expected:?}");
                    return Err($crate::conformance::Broken(words));
                }
            }
        }
    };
}

use {ensure, ensure_eq};

/// Names each function of a suite a law, by its own name.
macro_rules! laws {
    ($($needs:ident: $($law:ident)+;)+) => {
        &[$($($crate::conformance::Law {
            name: stringify!($law),
            needs: $crate::conformance::Needs::$needs,
            run: $law,
        },)+)+]
    };
}

use laws;
