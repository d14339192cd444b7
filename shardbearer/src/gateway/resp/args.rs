//! Arguments: numbers, words in any case, and the options that set when a key expires.

use bytes::Bytes;

use super::failure::Failure;
use super::frame;

/// An integer of 64 bits.
pub fn integer(text: &[u8]) -> Result<i64, Failure> {
    frame::integer(text).ok_or(Failure::NOT_AN_INTEGER)
}

/// A decimal fraction; infinity is one, not-a-number is none.
pub fn float(text: &[u8]) -> Result<f64, Failure> {
    let text = std::str::from_utf8(text).map_err(|_| Failure::NOT_A_FLOAT)?;
    let number: f64 = text.parse().map_err(|_| Failure::NOT_A_FLOAT)?;
    if number.is_nan() { Err(Failure::NOT_A_FLOAT) } else { Ok(number) }
}

/// Whether the argument is this word, in any case.
pub fn is(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}

/// The first of the words that the argument is, in any case.
pub fn one_of<'a>(argument: &[u8], words: &[&'a str]) -> Option<&'a str> {
    words.iter().find(|word| is(argument, word)).copied()
}

/// The argument in small letters, for texts.
pub fn lower(argument: &[u8]) -> String {
    String::from_utf8_lossy(argument).to_ascii_lowercase()
}

/// In what a time is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// Unix milliseconds of a time given as a number, counted from `from_ms` (0 for an absolute time). `None` if they
/// do not fit; before 1970 counts as then.
pub fn moment(number: i64, unit: Unit, from_ms: u64) -> Option<u64> {
    let ms = match unit {
        Unit::Seconds => number.checked_mul(1000)?,
        Unit::Milliseconds => number,
    };
    let sum = i64::try_from(from_ms).ok()?.checked_add(ms)?;
    Some(u64::try_from(sum).unwrap_or(0))
}

/// The time of `EX`, `PX`, `EXAT` or `PXAT`, if that is what the option is.
pub fn expiry_option(
    option: &[u8],
    number: Option<&Bytes>,
    now_ms: u64,
    command: &str,
) -> Result<Option<u64>, Failure> {
    let (unit, from_ms) = match one_of(option, &["EX", "PX", "EXAT", "PXAT"]) {
        Some("EX") => (Unit::Seconds, now_ms),
        Some("PX") => (Unit::Milliseconds, now_ms),
        Some("EXAT") => (Unit::Seconds, 0),
        Some(_) => (Unit::Milliseconds, 0),
        None => return Ok(None),
    };
    let number = number.ok_or(Failure::SYNTAX)?;
    positive_moment(number, unit, from_ms, command).map(Some)
}

/// As [`moment`], of a number that must be positive.
pub fn positive_moment(number: &[u8], unit: Unit, from_ms: u64, command: &str) -> Result<u64, Failure> {
    let number = integer(number)?;
    let at_ms = if number > 0 { moment(number, unit, from_ms) } else { None };
    at_ms.ok_or_else(|| Failure::expire_time(command))
}
