//! Whether each field of an object stands there once. `serde_json` takes the last of several and drops the others.

use std::collections::BTreeSet;

/// A field that comes twice in one object, however deep, of a text that is known to be JSON.
pub(super) fn repeated(text: &str) -> Option<String> {
    // What is open: the fields so far of an object, nothing of a list.
    let mut open: Vec<BTreeSet<String>> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '[', '}', ']', '"']) {
        let (_, token) = rest.split_at(at);
        let length = match token.as_bytes().first() {
            Some(b'{' | b'[') => {
                open.push(BTreeSet::new());
                1
            }
            Some(b'"') => string(token),
            _ => {
                open.pop();
                1
            }
        };
        let (token, behind) = token.split_at(length);
        rest = behind;
        if token.len() > 1 && rest.trim_start().starts_with(':') {
            // Escapes may spell one name in many ways.
            let name: String = serde_json::from_str(token).ok()?;
            let fields = open.last_mut()?;
            if !fields.insert(name.clone()) {
                return Some(name);
            }
        }
    }
    None
}

/// The length of the string that the text begins with, quotes included.
fn string(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_comes_twice_in_one_object_is_found_however_it_is_written() {
        for (text, found) in [
            (r#"{"a":1,"b":2,"a":1}"#, Some("a")),
            (r#"{"a":[{"b":1},{"b":{"c":1 , "c" : 2}}]}"#, Some("c")),
            (r#"{"a":1,"\u0061":2}"#, Some("a")),
            (r#"{"a\"":1,"a\\":2,"a\"":3}"#, Some("a\"")),
            (r#"{"é":{},"é":[]}"#, Some("é")),
            (r#"{"a":{"a":{"a":["a","a",":"]}},"b":"\"a\":1,\"a\":{"}"#, None),
            (r#"[{"a":1},{"a":1},"a","a"]"#, None),
            (r#""a""#, None),
            ("7", None),
        ] {
            serde_json::from_str::<serde_json::Value>(text).expect("JSON");
            assert_eq!(repeated(text).as_deref(), found, "{text}");
        }
    }
}
