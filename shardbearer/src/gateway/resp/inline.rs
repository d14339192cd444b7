//! Splits a line typed by hand into arguments, with the quotes that `redis-cli` and Redis know.

use bytes::Bytes;

/// The arguments of a line; `None` if a quote is not closed or is followed by more than a blank.
///
/// In double quotes `\n \r \t \b \a \\ \"` and `\xHH` are understood, in single quotes only `\'`.
pub fn split(line: &[u8]) -> Option<Vec<Bytes>> {
    let mut arguments = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let (argument, after) = argument(rest)?;
        arguments.push(argument.into());
        rest = after.trim_ascii_start();
    }
    Some(arguments)
}

fn argument(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut argument = Vec::new();
    loop {
        match rest {
            [] => return Some((argument, rest)),
            [byte, ..] if byte.is_ascii_whitespace() || *byte == 0 => return Some((argument, &rest[1..])),
            [quote @ (b'"' | b'\''), after @ ..] => {
                let after = quoted(*quote, after, &mut argument)?;
                return match after {
                    [] => Some((argument, after)),
                    [byte, ..] if byte.is_ascii_whitespace() => Some((argument, after)),
                    _ => None,
                };
            }
            [byte, after @ ..] => {
                argument.push(*byte);
                rest = after;
            }
        }
    }
}

/// Reads up to the closing quote and returns what is behind it.
fn quoted<'a>(quote: u8, mut rest: &'a [u8], argument: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match (quote, rest) {
            (_, []) => return None,
            (b'\'', [b'\\', b'\'', after @ ..]) => {
                argument.push(b'\'');
                after
            }
            (b'"', [b'\\', b'x', high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                argument.push(digit(*high) << 4 | digit(*low));
                after
            }
            (b'"', [b'\\', escaped, after @ ..]) => {
                argument.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                after
            }
            (_, [byte, after @ ..]) if *byte == quote => return Some(after),
            (_, [byte, after @ ..]) => {
                argument.push(*byte);
                after
            }
        };
    }
}

fn digit(hex: u8) -> u8 {
    char::from(hex).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_redis_splits_them() {
        let check = |line: &str, expect: Option<&[&[u8]]>| {
            let expect = expect.map(|words| words.iter().map(|word| Bytes::copy_from_slice(word)).collect());
            assert_eq!(split(line.as_bytes()), expect, "{line:?}");
        };
        check("", Some(&[]));
        check("  ping  ", Some(&[b"ping"]));
        check(r#"set "a b" 'c d'"#, Some(&[b"set", b"a b", b"c d"]));
        check(r#"echo "\x00\xfF\n\q\"""#, Some(&[b"echo", b"\x00\xff\nq\""]));
        check(r"echo 'it\'s \n'", Some(&[b"echo", br"it's \n"]));
        check(r#"set "" x"#, Some(&[b"set", b"", b"x"]));
        check(r#"echo "open"#, None);
        check(r#"echo "shut"again"#, None);
    }
}
