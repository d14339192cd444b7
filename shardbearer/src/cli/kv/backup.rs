//! Lines of a backup: each a JSON object with everything there is to a row, so that it comes back as it was.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use shardbearer_client::Row;
use shardbearer_core::limits;

use super::super::output;

/// The longest line that can be a row: JSON writes some bytes as six.
pub(super) const LINE_BYTES_MAX: usize = 6 * (limits::GROWN_VALUE_BYTES_MAX + limits::KEY_BYTES_MAX) + 256;

/// A row as a line has it: key and value as text, or in base64 if they are none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    expires_at_ms: Option<u64>,
}

/// A row to be written back.
#[derive(Debug, PartialEq)]
pub(super) struct Restored {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    /// Unix milliseconds.
    pub(super) expires_at_ms: Option<u64>,
}

/// The line of a row, without its line break.
pub(super) fn line(row: &Row) -> Value {
    let mut object = serde_json::Map::new();
    output::insert_bytes(&mut object, "key", &row.key);
    output::insert_bytes(&mut object, "value", &row.record.value);
    if let Some(at) = row.record.expires_at_ms {
        object.insert("expires_at_ms".into(), at.into());
    }
    object.into()
}

/// The row of a line, or what is wrong with it.
pub(super) fn row(line: &[u8]) -> Result<Restored, String> {
    let written: Written =
        serde_json::from_slice(line).map_err(|error| format!("not a line of a backup: {error}"))?;
    let key = bytes(written.key, written.key_base64, "key")?;
    let value = bytes(written.value, written.value_base64, "value")?;
    match key.len() {
        0 => Err("the key is empty".into()),
        length if length > limits::KEY_BYTES_MAX => {
            Err(format!("the key has {length} bytes; at most {} are allowed", limits::KEY_BYTES_MAX))
        }
        _ => Ok(Restored { key, value, expires_at_ms: written.expires_at_ms }),
    }
}

fn bytes(text: Option<String>, encoded: Option<String>, name: &str) -> Result<Bytes, String> {
    use base64::Engine;
    match (text, encoded) {
        (Some(text), None) => Ok(text.into()),
        (None, Some(encoded)) => {
            let decoded = base64::engine::general_purpose::STANDARD.decode(encoded);
            decoded.map(Into::into).map_err(|error| format!("\"{name}_base64\" is no base64: {error}"))
        }
        (None, None) => Err(format!("there is neither \"{name}\" nor \"{name}_base64\"")),
        (Some(_), Some(_)) => Err(format!("there is \"{name}\" and \"{name}_base64\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shardbearer_client::Record;

    #[test]
    fn every_row_comes_back_as_it_was() {
        let all: Vec<u8> = (0..=255).collect();
        for (key, value, expires_at_ms) in
            [(&b"k"[..], &b""[..], None), (&all, b"two\nlines\0\"\\", Some(u64::MAX)), (b"\n", &all, Some(0))]
        {
            let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
            let record = Record { value: value.clone(), revision: 1, expires_at_ms };
            let text = line(&Row { key: key.clone(), record }).to_string();
            assert!(!text.contains('\n'), "{text}");
            assert_eq!(row(text.as_bytes()), Ok(Restored { key, value, expires_at_ms }));
        }
    }

    #[test]
    fn a_line_that_is_no_row_has_a_reason() {
        let long = format!("{{\"key\":\"{}\",\"value\":\"\"}}", "k".repeat(limits::KEY_BYTES_MAX + 1));
        for (text, why) in [
            ("{\"id\":1}", "not a line of a backup"),
            ("{\"key\":\"k\"}", "neither \"value\""),
            ("{\"key\":\"k\",\"value\":\"v\",\"value_base64\":\"\"}", "there is \"value\" and"),
            ("{\"key_base64\":\"!\",\"value\":\"v\"}", "no base64"),
            ("{\"key\":\"\",\"value\":\"v\"}", "empty"),
            ("{\"key\":\"k\",\"value\":\"v\",\"expires_at_ms\":-1}", "not a line of a backup"),
            (&long, "at most 4096"),
        ] {
            let error = row(text.as_bytes()).expect_err(text);
            assert!(error.contains(why), "{error:?} should say {why:?}");
        }
    }
}
