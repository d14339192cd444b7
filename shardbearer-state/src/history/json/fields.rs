//! The fields of a JSON object, each taken once, so that what is left over was not known.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};

/// What is wrong with a line.
pub(super) type Wrong = String;

pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub fn of(value: Value, what: &str) -> Result<Fields, Wrong> {
        match value {
            Value::Object(fields) => Ok(Fields(fields)),
            other => Err(format!("{what} must be an object, not {other}")),
        }
    }

    /// Complains about whatever was not taken.
    pub fn end(self) -> Result<(), Wrong> {
        match self.0.keys().next() {
            Some(name) => Err(format!("unknown field {name:?}, or one that does not go with the others")),
            None => Ok(()),
        }
    }

    /// A field; `null` counts as absent.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// Takes a field that is there and `null`.
    pub fn take_null(&mut self, name: &str) -> bool {
        let null = self.0.get(name).is_some_and(Value::is_null);
        if null {
            self.0.remove(name);
        }
        null
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A field that has to be there.
    pub fn must<T>(
        &mut self,
        name: &str,
        read: fn(&mut Fields, &str) -> Result<Option<T>, Wrong>,
    ) -> Result<T, Wrong> {
        read(self, name)?.ok_or_else(|| format!("{name:?} is missing"))
    }

    pub fn whole(&mut self, name: &str) -> Result<Option<u64>, Wrong> {
        self.typed(name, Value::as_u64, "a whole number from 0 on")
    }

    pub fn integer(&mut self, name: &str) -> Result<Option<i64>, Wrong> {
        self.typed(name, Value::as_i64, "an integer of 64 bits")
    }

    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, Wrong> {
        self.typed(name, Value::as_bool, "true or false")
    }

    pub fn word(&mut self, name: &str) -> Result<Option<String>, Wrong> {
        self.typed(name, |value| value.as_str().map(str::to_owned), "text")
    }

    pub fn list(&mut self, name: &str) -> Result<Option<Vec<Value>>, Wrong> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(values)) => Ok(Some(values)),
            Some(other) => Err(format!("{name:?} must be a list, not {other}")),
        }
    }

    fn typed<T>(
        &mut self,
        name: &str,
        as_type: fn(&Value) -> Option<T>,
        what: &str,
    ) -> Result<Option<T>, Wrong> {
        let Some(value) = self.take(name) else { return Ok(None) };
        as_type(&value).map(Some).ok_or_else(|| format!("{name:?} must be {what}, not {value}"))
    }

    /// Bytes: text in `name`, or anything in `name_base64`.
    pub fn bytes(&mut self, name: &str) -> Result<Option<Bytes>, Wrong> {
        let encoded = format!("{name}_base64");
        match (self.word(name)?, self.word(&encoded)?) {
            (None, None) => Ok(None),
            (Some(text), None) => Ok(Some(text.into())),
            (None, Some(text)) => match STANDARD.decode(&text) {
                Ok(bytes) => Ok(Some(bytes.into())),
                Err(error) => Err(format!("{encoded:?} is no base64: {error}")),
            },
            (Some(_), Some(_)) => Err(format!("{name:?} and {encoded:?} exclude each other")),
        }
    }
}

/// Puts bytes into an object, as [`Fields::bytes`] reads them.
pub(super) fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.into(), text.into()),
        Err(_) => object.insert(format!("{name}_base64"), STANDARD.encode(bytes).into()),
    };
}
