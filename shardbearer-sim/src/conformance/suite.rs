//! Laws about any kind of subject, for the traits whose implementations are values or pure functions. A law that panics is
//! broken, and says with which words.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Broken;

/// A law of subjects `S`.
pub struct Law<S: ?Sized> {
    /// A sentence.
    pub name: &'static str,
    /// What the law needs and the subject does not declare, if anything.
    pub lacks: fn(&S) -> Option<&'static str>,
    /// Finds out.
    pub run: fn(&S) -> Result<(), Broken>,
}

/// Runs one law; `None` if it does not apply.
pub fn violation<S: ?Sized>(law: &Law<S>, subject: &S) -> Option<Result<(), Broken>> {
    if (law.lacks)(subject).is_some() {
        return None;
    }
    let found = catch_unwind(AssertUnwindSafe(|| (law.run)(subject)));
    Some(found.unwrap_or_else(|panic| Err(Broken(format!("it panicked: {}", words(panic.as_ref()))))))
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

/// Runs a suite.
///
/// # Panics
/// With everything that is broken, if anything is.
pub fn check<S: ?Sized>(laws: &[Law<S>], subject: &S) {
    let mut broken = Vec::new();
    for law in laws {
        match violation(law, subject) {
            Some(Ok(())) => {}
            Some(Err(what)) => broken.push(format!("{}: {what}", law.name)),
            None => {
                let lacks = (law.lacks)(subject).unwrap_or_default();
                println!("skipped, as {lacks} is not declared: {}", law.name);
            }
        }
    }
    assert!(broken.is_empty(), "{} of {} laws are broken:\n{}", broken.len(), laws.len(), broken.join("\n"));
}

/// What a suite says about a subject that should be caught: the law of that name must be broken.
///
/// # Panics
/// If there is no such law, or it sees nothing.
pub fn caught<S: ?Sized>(laws: &[Law<S>], name: &str, subject: &S) -> Broken {
    let law = laws.iter().find(|law| law.name == name).unwrap_or_else(|| panic!("there is no law {name}"));
    match violation(law, subject) {
        Some(Err(broken)) => broken,
        other => panic!("{name} saw nothing: {other:?}"),
    }
}

/// Names each function a law, by its own name.
macro_rules! suite {
    ($($lacks:expr => $($law:ident)+;)+) => {
        vec![$($($crate::conformance::suite::Law {
            name: stringify!($law),
            lacks: $lacks,
            run: $law,
        },)+)+]
    };
}

pub(super) use suite;
