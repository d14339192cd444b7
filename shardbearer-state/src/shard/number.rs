//! Numbers as Redis reads and writes them. Decimal fractions are added exactly as decimals where
//! they fit 128 bits, so that 0.1 + 0.2 is 0.3 on every replica and for every user.

use shardbearer_core::kv::Refusal;

/// A decimal integer of 64 bits: an optional minus, no plus, no leading zeros, no blanks.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if canonical { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

/// `present + by` as text without an exponent and without trailing zeros.
pub(super) fn add(present: &[u8], by: f64) -> Result<String, Refusal> {
    let text = std::str::from_utf8(present).map_err(|_| Refusal::NotANumber)?;
    let blank =
        text.is_empty() || text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace);
    let value: f64 = text.parse().map_err(|_| Refusal::NotANumber)?;
    if blank || !value.is_finite() || !by.is_finite() {
        return Err(Refusal::NotANumber);
    }
    let exact = decimal(text).zip(decimal(&format!("{by}"))).and_then(|(a, b)| exact_sum(a, b));
    if let Some(sum) = exact {
        return Ok(sum);
    }
    let sum = value + by;
    if sum.is_finite() { Ok(format!("{sum}")) } else { Err(Refusal::Overflow) }
}

/// Digits and how many of them stand behind the point.
fn decimal(text: &str) -> Option<(i128, u32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 17 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    Some((digits, u32::try_from(fraction.len()).ok()?))
}

fn exact_sum((a, a_scale): (i128, u32), (b, b_scale): (i128, u32)) -> Option<String> {
    let scale = a_scale.max(b_scale);
    let widen = |digits: i128, from: u32| digits.checked_mul(10i128.checked_pow(scale - from)?);
    let sum = widen(a, a_scale)?.checked_add(widen(b, b_scale)?)?;
    let sign = if sum < 0 { "-" } else { "" };
    let width = scale as usize + 1;
    let digits = format!("{:0width$}", sum.unsigned_abs());
    let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
    let fraction = fraction.trim_end_matches('0');
    Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_canonical() {
        for (text, expect) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-0", None),
            ("01", None),
            ("+1", None),
            (" 1", None),
            ("1.0", None),
            ("", None),
        ] {
            assert_eq!(integer(text.as_bytes()), expect, "{text:?}");
        }
    }

    #[test]
    fn fractions_add_as_people_do() {
        for (present, by, expect) in [
            ("10.50", 0.1, "10.6"),
            ("0.1", 0.2, "0.3"),
            ("5.0e3", 200.0, "5200"),
            ("3", -5.5, "-2.5"),
            ("0", 0.0, "0"),
            ("-0.5", 0.5, "0"),
            ("1", 1e20, "100000000000000000001"),
        ] {
            assert_eq!(add(present.as_bytes(), by).as_deref(), Ok(expect), "{present} + {by}");
        }
        assert_eq!(add(b"abc", 1.0), Err(Refusal::NotANumber));
        assert_eq!(add(b" 1", 1.0), Err(Refusal::NotANumber));
        assert_eq!(add(b"inf", 1.0), Err(Refusal::NotANumber));
        assert_eq!(add(b"1.7e308", 1.7e308), Err(Refusal::Overflow));
    }
}
