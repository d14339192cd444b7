//! What `If-Match` and `If-None-Match` ask. The entity tag of a key is its revision in quotes.

use axum::http::HeaderMap;
use axum::http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use shardbearer_core::kv::Condition;

use super::answer::Failure;

/// The condition of a write.
pub(super) fn of_write(headers: &HeaderMap) -> Result<Condition, Failure> {
    match (value(headers, IF_MATCH)?, value(headers, IF_NONE_MATCH)?) {
        (None, None) => Ok(Condition::Always),
        (Some("*"), None) => Ok(Condition::Present),
        (Some(tag), None) => Ok(Condition::Revision(revision(tag)?)),
        (None, Some("*")) => Ok(Condition::Absent),
        (None, Some(tag)) => Err(Failure::bad_request(format!(
            "If-None-Match: {tag} is not possible for writes; only If-None-Match: * is"
        ))),
        (Some(_), Some(_)) => Err(Failure::bad_request("give either If-Match or If-None-Match, not both")),
    }
}

/// The revision that the caller of a read has already.
pub(super) fn of_read(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    match value(headers, IF_NONE_MATCH)? {
        None => Ok(None),
        Some(tag) => revision(tag).map(Some),
    }
}

fn value(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Failure> {
    let mut all = headers.get_all(&name).iter();
    let Some(first) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(Failure::bad_request(format!("the header {name} is there more than once")));
    }
    match first.to_str() {
        Ok(text) => Ok(Some(text.trim())),
        Err(_) => Err(Failure::bad_request(format!("the header {name} is no text"))),
    }
}

/// `"12"`, or `12` for those who type it.
fn revision(tag: &str) -> Result<u64, Failure> {
    let bare = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(tag);
    let digits = bare.bytes().all(|byte| byte.is_ascii_digit());
    bare.parse().ok().filter(|_| digits).ok_or_else(|| {
        Failure::bad_request(format!(
            "{tag} is no revision; give one as the ETag header had it, for example \"12\""
        ))
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn write(headers: &[(HeaderName, &'static str)]) -> Option<Condition> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        of_write(&map).ok()
    }

    #[test]
    fn conditions_are_understood_or_refused() {
        assert_eq!(write(&[]), Some(Condition::Always));
        assert_eq!(write(&[(IF_MATCH, "*")]), Some(Condition::Present));
        assert_eq!(write(&[(IF_MATCH, "\"12\"")]), Some(Condition::Revision(12)));
        assert_eq!(write(&[(IF_MATCH, "12")]), Some(Condition::Revision(12)));
        assert_eq!(write(&[(IF_NONE_MATCH, "*")]), Some(Condition::Absent));
        for nonsense in ["W/\"12\"", "\"1\", \"2\"", "", "\"", "+1", "-1", "18446744073709551616"] {
            assert_eq!(write(&[(IF_MATCH, nonsense)]), None, "{nonsense}");
        }
        assert_eq!(write(&[(IF_NONE_MATCH, "\"12\"")]), None);
        assert_eq!(write(&[(IF_MATCH, "*"), (IF_NONE_MATCH, "*")]), None);
        assert_eq!(write(&[(IF_MATCH, "1"), (IF_MATCH, "2")]), None);
    }
}
