//! What a caller is told when a call got no result. Every error answers one question: may it have happened?

use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::kv::Refusal;
use thiserror::Error;

/// Why a call has no result. A condition that did not hold is none of these: it is a result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The call provably did not happen and never will: no route, no time, a full queue, an unacceptable request.
    #[error("{0}")]
    Refused(Refused),
    /// The data refused it, so it did not happen either: not a number, too large, ...
    #[error("{}", refusal_in_words(.0))]
    Rejected(Refusal),
    /// The call may have happened, or may still. Only reading the data can tell.
    #[error("whether it happened is unknown: {0}")]
    Unknown(String),
}

impl Error {
    /// Whether the call may have taken effect. If not, it is safe to ask again as if nothing had been said.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Error::Unknown(_) => true,
            Error::Refused(_) | Error::Rejected(_) => false,
        }
    }

    /// For an answer of a kind that the command cannot have: the other side speaks another version.
    pub(crate) fn unexpected(reply: &impl std::fmt::Debug) -> Error {
        Error::Unknown(format!("the answer is of an unexpected kind: {reply:.200?}"))
    }

    pub(crate) fn invalid(why: impl Into<String>) -> Error {
        Error::Refused(Refused::Invalid(why.into()))
    }
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused(refused) => Error::Refused(refused),
            RequestError::Unknown(why) => Error::Unknown(why),
        }
    }
}

/// A refusal by the data as a sentence.
pub fn refusal_in_words(refusal: &Refusal) -> String {
    match refusal {
        Refusal::NotAnInteger => "the value is not a decimal integer of 64 bits".into(),
        Refusal::NotANumber => "the value is not a finite decimal number".into(),
        Refusal::Overflow => "the result would leave the range of its type".into(),
        Refusal::TooLarge { limit } => format!("the value or the answer would have more than {limit} bytes"),
        Refusal::WrongOrder => "the shard belongs to another order".into(),
        Refusal::SessionExpired => "whether it was applied is no longer remembered".into(),
        Refusal::SessionsFull => {
            "the shard remembers as many clients as it may; try again in a few minutes".into()
        }
        Refusal::Malformed(why) => why.clone(),
    }
}
