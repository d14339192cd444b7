//! The conformance suites are tested too: an honest double keeps every law, and for every law there is a double that
//! breaks it and is caught by it.

mod log;
mod machine;
mod placement;
mod protocol;
mod scheme;
mod storage;
mod transport;

use shardbearer_sim::conformance::{Law, Subject, violation};

/// The names of the laws that a subject breaks.
fn broken<T: ?Sized>(laws: &[Law<T>], subject: &Subject<'_, T>) -> Vec<&'static str> {
    let violated = |law: &&Law<T>| matches!(violation(law, subject), Some(Err(_)));
    laws.iter().filter(violated).map(|law| law.name).collect()
}

/// What the documents say of the doubles is what is tested.
fn assert_documented<F: std::fmt::Debug>(flaws: &[(F, &str)]) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/testing.md");
    let text = std::fs::read_to_string(path).expect("the document is there");
    for (flaw, law) in flaws {
        let row = text.lines().find(|line| line.contains(&format!("`{flaw:?}`")));
        assert!(row.is_some_and(|row| row.contains(law)), "docs/testing.md: `{flaw:?}` is caught by `{law}`");
    }
}
