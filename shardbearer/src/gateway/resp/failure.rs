//! Error replies: a code word and a sentence, Redis' own wherever Redis has one.
//!
//! What went wrong behind the door keeps the one thing that matters: `UNKNOWN` says that a write may have
//! happened; every other code says that it has not.

use std::borrow::Cow;

use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::kv::Refusal;

/// An error reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(Cow<'static, str>);

impl Failure {
    /// The arguments do not fit together.
    pub const SYNTAX: Failure = Failure(Cow::Borrowed("ERR syntax error"));
    /// An argument or a value is no integer of 64 bits.
    pub const NOT_AN_INTEGER: Failure = Failure(Cow::Borrowed("ERR value is not an integer or out of range"));
    /// An argument or a value is no number.
    pub const NOT_A_FLOAT: Failure = Failure(Cow::Borrowed("ERR value is not a valid float"));
    /// A sum of fractions leaves the range of its type.
    pub const NOT_FINITE: Failure = Failure(Cow::Borrowed("ERR increment would produce NaN or Infinity"));
    /// The keys of something atomic have different slots.
    pub const CROSS_SLOT: Failure =
        Failure(Cow::Borrowed("CROSSSLOT Keys in request don't hash to the same slot"));
    /// The radiant is not in its cluster yet.
    pub const LOADING: Failure = Failure(Cow::Borrowed("LOADING shardbearer is finding its cluster"));
    /// The radiant stops. With this word clients of Redis know that the same command may be sent again elsewhere.
    pub const STOPPING: Failure = Failure(Cow::Borrowed(
        "LOADING this radiant is stopping: nothing was changed, connect to another one",
    ));
    /// A value would become too long.
    pub const TOO_LONG: Failure =
        Failure(Cow::Borrowed("ERR string exceeds maximum allowed size (proto-max-bulk-len)"));

    /// Code word and sentence.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether the command may have taken effect.
    pub fn is_unknown(&self) -> bool {
        self.0.starts_with("UNKNOWN ")
    }

    /// The command was called with too few or too many arguments.
    pub fn arity(command: &str) -> Failure {
        Failure(format!("ERR wrong number of arguments for '{command}' command").into())
    }

    /// A time to live that is not positive or does not fit.
    pub fn expire_time(command: &str) -> Failure {
        Failure(format!("ERR invalid expire time in '{command}' command").into())
    }

    /// What the door could not do.
    pub fn of(error: &RequestError) -> Failure {
        let text = match error {
            RequestError::Unknown(why) => {
                format!("UNKNOWN outcome: the command may or may not have taken effect: {why}")
            }
            RequestError::Refused(refused) => match refused {
                Refused::NotHerald { .. }
                | Refused::WrongOrder { .. }
                | Refused::Busy(_)
                | Refused::Closed => format!("TRYAGAIN nothing was changed: {refused}"),
                Refused::Unavailable(_) => format!("CLUSTERDOWN nothing was changed: {refused}"),
                Refused::DiskFull(_) => format!("ERR nothing was changed: {refused}"),
                Refused::Invalid(_) => format!("ERR {refused}"),
            },
        };
        Failure(text.into())
    }

    /// What could not be done of a command that consists of several independent steps. Refused steps did not
    /// happen, but others may have.
    pub fn of_part(error: &RequestError) -> Failure {
        let text = match error {
            RequestError::Unknown(_) => return Failure::of(error),
            RequestError::Refused(refused) => {
                let code = match refused {
                    Refused::NotHerald { .. }
                    | Refused::WrongOrder { .. }
                    | Refused::Busy(_)
                    | Refused::Closed => "TRYAGAIN",
                    Refused::Unavailable(_) => "CLUSTERDOWN",
                    Refused::DiskFull(_) | Refused::Invalid(_) => "ERR",
                };
                format!("{code} some keys were not reached, others may have been changed: {refused}")
            }
        };
        Failure(text.into())
    }

    /// What the data refuse.
    pub fn refusal(refusal: &Refusal) -> Failure {
        match refusal {
            Refusal::NotAnInteger => Failure::NOT_AN_INTEGER,
            Refusal::NotANumber => Failure::NOT_A_FLOAT,
            Refusal::Overflow => "ERR increment or decrement would overflow".into(),
            Refusal::TooLarge { .. } => Failure::TOO_LONG,
            Refusal::WrongOrder => "TRYAGAIN nothing was changed: the shard is moving".into(),
            Refusal::SessionExpired => {
                "UNKNOWN outcome: whether the command was applied is no longer remembered".into()
            }
            Refusal::SessionsFull => "TRYAGAIN nothing was changed: the shard is busy".into(),
            Refusal::Malformed(why) => format!("ERR {why}").into(),
        }
    }
}

impl From<&'static str> for Failure {
    fn from(text: &'static str) -> Failure {
        Failure(text.into())
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Failure {
        Failure(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_never_looks_like_a_refusal() {
        let unknown = RequestError::Unknown("the herald fell silent".into());
        for failure in
            [Failure::of(&unknown), Failure::of_part(&unknown), Failure::refusal(&Refusal::SessionExpired)]
        {
            assert!(failure.text().starts_with("UNKNOWN outcome: "), "{failure:?}");
            assert!(!failure.text().contains("nothing was changed"), "{failure:?}");
        }
    }

    #[test]
    fn refusals_say_whether_to_try_again() {
        let check = |refused: Refused, code: &str| {
            let error = RequestError::from(refused);
            assert!(Failure::of(&error).text().starts_with(code), "{error}");
            assert!(Failure::of_part(&error).text().starts_with(code), "{error}");
            assert!(!Failure::of_part(&error).text().contains("nothing was changed"), "{error}");
        };
        check(Refused::Busy("full".into()), "TRYAGAIN ");
        check(Refused::Closed, "TRYAGAIN ");
        check(Refused::Unavailable("no quorum".into()), "CLUSTERDOWN ");
        check(Refused::DiskFull("1 MiB left".into()), "ERR ");
        check(Refused::Invalid("the key is empty".into()), "ERR ");
    }
}
