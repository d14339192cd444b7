//! Failures that programs tell apart, by the exit code or by the outcome in the JSON of an error. What is none of these has
//! failed as it says, with exit code 1.

use std::process::ExitCode;

use shardbearer_client::Error as ClientError;
use thiserror::Error;

use crate::config::ConfigError;

/// One of them.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// Arguments that make no sense together or here, or an input that cannot be read: nobody shall take it for a verdict.
    #[error("{0}")]
    Usage(String),
    /// The cluster does not do what it was asked for, and has done none of it.
    #[error("{0}")]
    Refused(String),
    /// A search gave up: neither yes nor no.
    #[error("{0}")]
    Unproven(String),
}

impl Failure {
    /// There is no such key: nothing was read or changed.
    pub(super) fn no_key(key: &str) -> Failure {
        Failure::Refused(format!("there is no key {key:?}"))
    }

    /// An operator's request that is refused: because of `blockers`, or where there are none, because it is unsafe and was not
    /// forced.
    pub(super) fn refused(dry_run: bool, blockers: &[String]) -> Failure {
        let when = if dry_run { " if it were asked for now" } else { "" };
        let why = match blockers {
            [] => "it is unsafe; if you accept that, add --force".to_owned(),
            blockers => blockers.join("; "),
        };
        Failure::Refused(format!("refused{when}: {why}"))
    }
}

/// The exit code of a failed command.
pub(super) fn exit_code(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(match error.downcast_ref() {
        Some(Failure::Usage(_)) => 2,
        Some(Failure::Unproven(_)) => 3,
        Some(Failure::Refused(_)) => 1,
        None if error.is::<ConfigError>() => 2,
        None => 1,
    })
}

/// An error for programs: the sentence, and of an operation on the cluster whether it may have happened.
pub(super) fn json(error: &anyhow::Error) -> serde_json::Value {
    let refused = matches!(error.downcast_ref(), Some(Failure::Refused(_)));
    let client = error.chain().find_map(|cause| cause.downcast_ref::<ClientError>());
    let outcome = match client {
        Some(error) if error.may_have_happened() => Some("unknown"),
        Some(_) => Some("refused"),
        None => refused.then_some("refused"),
    };
    serde_json::json!({ "error": format!("{error:#}"), "outcome": outcome })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_tell_failures_apart() {
        let refused = anyhow::Error::new(Failure::refused(false, &[]));
        assert_eq!(json(&refused)["outcome"], "refused");
        assert!(refused.to_string().ends_with("add --force"), "{refused}");
        let blocked = Failure::refused(true, &["it leads".into()]);
        assert_eq!(blocked.to_string(), "refused if it were asked for now: it leads");
        let code = |failure: Failure| format!("{:?}", exit_code(&failure.into()));
        let is = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(code(Failure::Usage(String::new())), is(2));
        assert_eq!(code(Failure::Unproven(String::new())), is(3));
        assert_eq!(code(Failure::Refused(String::new())), is(1));
        assert!(json(&anyhow::anyhow!("else"))["outcome"].is_null());
    }
}
