//! The conformance suites are tested too: an honest double keeps every law, and for every law there is a double that
//! breaks it and is caught by it.

mod log;
mod protocol;
mod storage;

use shardbearer_sim::conformance::{Law, Subject, violation};

/// The names of the laws that a subject breaks.
fn broken<T: ?Sized>(laws: &[Law<T>], subject: &Subject<'_, T>) -> Vec<&'static str> {
    let violated = |law: &&Law<T>| matches!(violation(law, subject), Some(Err(_)));
    laws.iter().filter(violated).map(|law| law.name).collect()
}
