//! Lines of a JSONL file: bytes in, keys and values out, with a reason for each line that is neither. Pure but for
//! the reader, and never holds more than one line.

use std::fmt;
use std::io::{self, BufRead};

use bytes::Bytes;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use shardbearer_core::limits;

use super::backup::{self, Restored};

/// One line of the file.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: u64,
    /// Bytes it takes in the file, its newline included.
    pub(super) bytes: u64,
    /// What it says is to be written, or why it says nothing.
    pub(super) row: Result<Restored, String>,
}

/// How lines become rows.
pub(super) enum Kind {
    /// The line is the value, and holds the key.
    Values(Keys),
    /// The line is that of a backup.
    Backup,
}

impl Kind {
    fn line_bytes_max(&self) -> usize {
        match self {
            Kind::Values(_) => limits::GROWN_VALUE_BYTES_MAX,
            Kind::Backup => backup::LINE_BYTES_MAX,
        }
    }

    fn row(&self, line: Vec<u8>) -> Result<Restored, String> {
        match self {
            Kind::Values(keys) => {
                keys.key(&line).map(|key| Restored { key, value: line.into(), expires_at_ms: None })
            }
            Kind::Backup => backup::row(&line),
        }
    }
}

/// What keys are made of.
pub(super) struct Keys {
    /// The field of the object.
    pub(super) field: String,
    /// Goes before it.
    pub(super) prefix: String,
}

/// Reads lines and hands them over until the end or until nobody takes them. Empty lines are passed over.
pub(super) fn read(
    mut reader: impl BufRead,
    kind: &Kind,
    mut take: impl FnMut(Line) -> bool,
) -> io::Result<()> {
    read_up_to(&mut reader, kind, kind.line_bytes_max(), &mut take)
}

fn read_up_to(
    reader: &mut impl BufRead,
    kind: &Kind,
    line_bytes_max: usize,
    take: &mut impl FnMut(Line) -> bool,
) -> io::Result<()> {
    let mut number = 0;
    loop {
        let mut value = Vec::new();
        let bytes = next_line(reader, &mut value, line_bytes_max)?;
        if bytes == 0 {
            return Ok(());
        }
        number += 1;
        let whole = u64::try_from(value.len()).unwrap_or(u64::MAX);
        let row = if whole + 1 < bytes {
            Err(format!("the line has {} bytes; at most {line_bytes_max} are allowed", bytes - 1))
        } else if value.is_empty() {
            continue;
        } else {
            kind.row(value)
        };
        if !take(Line { number, bytes, row }) {
            return Ok(());
        }
    }
}

/// Reads up to the newline, keeps at most `most` bytes of it, and returns how many there were with the newline.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>, most: usize) -> io::Result<u64> {
    let mut bytes = 0;
    loop {
        let chunk = match reader.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if chunk.is_empty() {
            // A last line without a newline counts as if it had one.
            return Ok(if bytes == 0 { 0 } else { bytes + 1 });
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        line.extend_from_slice(&part[..part.len().min(most.saturating_sub(line.len()))]);
        bytes += part.len() as u64;
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(bytes + 1);
        }
    }
}

impl Keys {
    /// The key of a line.
    fn key(&self, line: &[u8]) -> Result<Bytes, String> {
        let mut parser = serde_json::Deserializer::from_slice(line);
        let found =
            Field { name: &self.field }.find(&mut parser).and_then(|found| parser.end().map(|()| found));
        let value = match found {
            Ok(Some(value)) => value,
            Ok(None) => return Err(format!("the object has no field {:?}", self.field)),
            Err(error) => return Err(format!("not a JSON object: {error}")),
        };
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
            Value::Number(number) => {
                return Err(format!(
                    "field {:?} is {number}; numbers must be integers of 64 bits",
                    self.field
                ));
            }
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                return Err(format!("field {:?} is neither a number nor a string", self.field));
            }
        };
        let key = format!("{}{text}", self.prefix);
        match key.len() {
            0 => Err(format!("field {:?} is empty", self.field)),
            length if length > limits::KEY_BYTES_MAX => {
                Err(format!("the key has {length} bytes; at most {} are allowed", limits::KEY_BYTES_MAX))
            }
            _ => Ok(key.into()),
        }
    }
}

/// Looks for one field and checks, without keeping it, that the rest is JSON too.
struct Field<'a> {
    name: &'a str,
}

impl Field<'_> {
    fn find<'de, D: Deserializer<'de>>(self, parser: D) -> Result<Option<Value>, D::Error> {
        parser.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Value>, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            if name == self.name {
                if found.is_some() {
                    return Err(A::Error::custom(format_args!("field {name:?} is there twice")));
                }
                found = Some(map.next_value::<Value>()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8], most: usize) -> Vec<Line> {
        let kind = Kind::Values(Keys { field: "id".into(), prefix: "u:".into() });
        let mut lines = Vec::new();
        // A buffer of three bytes makes every line cross its edges.
        read_up_to(&mut io::BufReader::with_capacity(3, text), &kind, most, &mut |line| {
            lines.push(line);
            true
        })
        .expect("memory does not fail");
        lines
    }

    #[track_caller]
    fn refused(line: &[u8], why: &str) {
        let lines = all(line, 100);
        assert_eq!(lines.len(), 1);
        let error = lines[0].row.as_ref().expect_err("refused");
        assert!(error.contains(why), "{error:?} should say {why:?}");
    }

    #[test]
    fn values_are_the_exact_bytes_of_the_line() {
        let lines = all(b"{\"id\":1}\r\n\n { \"x\" : [1,{}] , \"id\":\"\\u00e9\"}\n{\"id\":-5}", 100);
        let row =
            |line: &Line| line.row.as_ref().map(|row| (row.key.clone(), row.value.clone())).expect("fine");
        let rows: Vec<_> = lines.iter().map(|line| (line.number, row(line))).collect();
        assert_eq!(rows[0], (1, ("u:1".into(), "{\"id\":1}\r".into())));
        assert_eq!(rows[1], (3, ("u:é".into(), " { \"x\" : [1,{}] , \"id\":\"\\u00e9\"}".into())));
        assert_eq!(rows[2], (4, ("u:-5".into(), "{\"id\":-5}".into())), "the last newline may be missing");
    }

    #[test]
    fn a_broken_line_has_a_reason_and_does_not_stop_the_rest() {
        refused(b"{\"id\":1", "not a JSON object");
        refused(b"{\"id\":1} x", "not a JSON object");
        refused(b"[1]", "not a JSON object");
        refused(b"{\"x\":{\"id\":1}}", "no field \"id\"");
        refused(b"{\"id\":null}", "neither a number nor a string");
        refused(b"{\"id\":1.5}", "integers");
        refused(b"{\"id\":1,\"id\":2}", "twice");
        refused(b"{\"id\":\"\xff\"}", "not a JSON object");
        refused(&[b'x'; 101], "at most 100");
        let long = format!("{{\"id\":{:?}}}", "k".repeat(limits::KEY_BYTES_MAX));
        let error = all(long.as_bytes(), 10_000).remove(0).row.expect_err("the prefix makes it too long");
        assert!(error.contains("4098 bytes"), "{error}");
        let lines = all(b"oops\n{\"id\":2}\n", 100);
        assert!(lines[0].row.is_err() && lines[1].row.is_ok());
        assert_eq!(lines.iter().map(|line| line.bytes).sum::<u64>(), 14, "bytes add up to the file");
    }

    #[test]
    fn a_line_too_long_is_never_held_whole() {
        let mut line = Vec::new();
        let bytes = next_line(&mut io::Cursor::new(vec![b'x'; 10_000]), &mut line, 10).expect("memory");
        assert_eq!((bytes, line.len()), (10_001, 10));
    }
}
