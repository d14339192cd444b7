//! Patterns as `KEYS`, `SCAN` and `CONFIG GET` know them: `*`, `?`, `[a-c]`, `[^a]`, `\x`.

/// Whether the text matches the pattern.
///
/// One place to go back to suffices: if the last star cannot make the rest fit, no earlier one can. So the
/// time is at most the product of both lengths, whatever the pattern.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    let mut back: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, text) {
            ([b'*', rest @ ..], _) => {
                back = Some((rest, text));
                pattern = rest;
                continue;
            }
            ([], []) => return true,
            ([_, ..], [first, after @ ..]) => {
                if let Some(rest) = one(pattern, *first) {
                    (pattern, text) = (rest, after);
                    continue;
                }
            }
            ([], [_, ..]) | ([_, ..], []) => {}
        }
        match back {
            Some((rest, [_, after @ ..])) => {
                back = Some((rest, after));
                (pattern, text) = (rest, after);
            }
            Some((_, [])) | None => return false,
        }
    }
}

/// What every text that matches the pattern begins with, as far as that is plain to see.
pub fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let special = pattern.iter().position(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'));
    &pattern[..special.unwrap_or(pattern.len())]
}

/// What follows the first element of the pattern, if that matches the byte.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => class(rest, byte),
        [b'\\', escaped, rest @ ..] => (*escaped == byte).then_some(rest),
        [first, rest @ ..] => (*first == byte).then_some(rest),
        [] => None,
    }
}

/// What follows a class whose `[` is read, if the byte is in it. A class that is not closed ends with the pattern.
fn class(class: &[u8], byte: u8) -> Option<&[u8]> {
    let (not, mut rest) = match class {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut within = false;
    loop {
        rest = match rest {
            [] => break,
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            [b'\\', escaped, after @ ..] => {
                within |= *escaped == byte;
                after
            }
            [from, b'-', to, after @ ..] => {
                within |= (*from.min(to)..=*from.max(to)).contains(&byte);
                after
            }
            [first, after @ ..] => {
                within |= *first == byte;
                after
            }
        };
    }
    (within != not).then_some(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        let check = |pattern: &str, text: &str, expect: bool| {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expect, "{pattern:?} on {text:?}");
        };
        check("*", "", true);
        check("", "", true);
        check("", "a", false);
        check("h?llo", "hello", true);
        check("h?llo", "hllo", false);
        check("h*llo", "heeeello", true);
        check("h[ae]llo", "hallo", true);
        check("h[ae]llo", "hillo", false);
        check("h[^e]llo", "hallo", true);
        check("h[^e]llo", "hello", false);
        check("h[a-b]llo", "hbllo", true);
        check("h[b-a]llo", "hbllo", true);
        check(r"h\*llo", "h*llo", true);
        check(r"h\*llo", "hello", false);
        check("[a", "a", true);
        check("*a*b*c", "xxaxxbxxc", true);
        check("*a*b*c", "xxaxxcxxb", false);
        check("user:*:name", "user:1:name", true);
    }

    #[test]
    fn a_hostile_pattern_takes_no_longer_than_any_other() {
        let pattern = b"*a".repeat(2_000);
        let text = vec![b'a'; 1_999];
        assert!(!matches(&pattern, &text));
    }

    proptest! {
        #[test]
        fn total_and_a_text_matches_itself_escaped(pattern: Vec<u8>, text: Vec<u8>) {
            matches(&pattern, &text);
            let escaped: Vec<u8> = text.iter().flat_map(|byte| [b'\\', *byte]).collect();
            prop_assert!(matches(&escaped, &text));
        }
    }
}
