//! Arguments that are more than text.

use std::time::Duration;

use shardbearer_core::limits;

/// A time as [`duration`] takes it, or none at all.
pub(super) fn duration_or_zero(text: &str) -> Result<Duration, String> {
    match text.trim_end_matches(['m', 's']) {
        "0" => Ok(Duration::ZERO),
        _ => duration(text),
    }
}

/// A time that one operation may take.
pub(super) fn request_duration(text: &str) -> Result<Duration, String> {
    let most = Duration::from_millis(limits::REQUEST_MS_MAX);
    match duration(text)? {
        long if long > most => Err(format!("an operation may take {} s at most", most.as_secs())),
        fine => Ok(fine),
    }
}

/// A time such as `250ms`, `10s`, `5m`, `2h` or `1d`; a bare number is in seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(format!("{unit:?} is no unit of time; write 250ms, 10s, 5m, 2h or 1d")),
    };
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is no time; write 250ms, 10s or 5m"))?;
    match Duration::try_from_secs_f64(number * seconds) {
        Ok(Duration::ZERO) => Err("the time must be longer than zero".into()),
        Ok(duration) => Ok(duration),
        Err(_) => Err(format!("{text:?} is too long")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(request_duration("60s"), Ok(Duration::from_secs(60)));
        assert!(request_duration("90s").is_err_and(|why| why.contains("60 s at most")));
        assert_eq!(duration_or_zero("0s"), Ok(Duration::ZERO));
        assert_eq!(duration_or_zero("5"), Ok(Duration::from_secs(5)));
        for wrong in ["", "s", "0s", "1x", "-1s", "1..2s", "99999999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }
}
