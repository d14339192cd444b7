//! A key as a resource: its value is the body, its revision the entity tag.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State, rejection::QueryRejection};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use shardbearer_core::error::RequestError;
use shardbearer_core::kv::{Command, Condition, Expiry, Record, RecordInfo, Reply};
use shardbearer_core::limits;
use shardbearer_proto::convert::client_may_send;
use tokio_stream::StreamExt;

use super::answer::Failure;
use super::{Shared, condition};
use crate::kv::{Call, Request};

const REVISION: HeaderName = HeaderName::from_static("x-revision");
const EXPIRES: HeaderName = HeaderName::from_static("x-expires-at-ms");

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What may stand behind the question mark of a write.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    ttl_ms: Option<u64>,
}

/// The value. 304 if the caller has it already.
pub(super) async fn get(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let known = condition::of_read(&headers)?;
    let at = At::parse(&uri)?;
    match execute(&shared, &at, Command::Get { key: at.key.clone() }).await? {
        Reply::Record(Some(Record { value, revision, expires_at_ms })) => {
            let about = about(revision, expires_at_ms);
            if known == Some(revision) {
                return Ok((StatusCode::NOT_MODIFIED, about).into_response());
            }
            let kind = [(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))];
            Ok((kind, about, value).into_response())
        }
        Reply::Record(None) => Err(no_key()),
        other => Err(surprise(other)),
    }
}

/// What is known of the key, without its value.
pub(super) async fn head(State(shared): State<Shared>, uri: Uri) -> Result<Response, Failure> {
    let at = At::parse(&uri)?;
    match execute(&shared, &at, Command::Inspect { key: at.key.clone() }).await? {
        Reply::Info(Some(RecordInfo { length, revision, expires_at_ms })) => {
            let length = [(CONTENT_LENGTH, HeaderValue::from(length))];
            Ok((length, about(revision, expires_at_ms)).into_response())
        }
        Reply::Info(None) => Err(no_key()),
        other => Err(surprise(other)),
    }
}

/// Sets the key: 201 if it was not there, 200 if it was.
pub(super) async fn put(
    State(shared): State<Shared>,
    options: Result<Query<Options>, QueryRejection>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let condition = condition::of_write(&headers)?;
    let Query(Options { ttl_ms }) = options.map_err(|error| Failure::bad_request(error.body_text()))?;
    let at = At::parse(&uri)?;
    let expiry = match ttl_ms {
        None => Expiry::Never,
        Some(0) => return Err(Failure::bad_request("ttl_ms must be at least 1")),
        Some(ttl) => Expiry::At(shared.world.wall_ms().saturating_add(ttl)),
    };
    shared.inside()?; // before a large body is read for nothing
    let value = read(&headers, body, shared.value_bytes_max).await?;
    let key = at.key.clone();
    // Asked in the same breath whether the key was there; its value might be large, and nobody wants it.
    let inspect = Command::Inspect { key: key.clone() };
    let put = Command::Put { key, value, condition, expiry, previous: false };
    let batch = Command::Batch { commands: vec![inspect, put], all_or_nothing: false };
    let Reply::Batch { replies, .. } = execute(&shared, &at, batch).await? else { return Err(odd()) };
    let Ok([before, written]) = <[Reply; 2]>::try_from(replies) else { return Err(odd()) };
    match written {
        Reply::Written { revision, .. } => {
            let code = if before == Reply::Info(None) { StatusCode::CREATED } else { StatusCode::OK };
            let expires_at_ms = match expiry {
                Expiry::At(at_ms) => Some(at_ms),
                Expiry::Never | Expiry::Keep => None,
            };
            Ok((code, about(revision, expires_at_ms)).into_response())
        }
        other => Err(surprise(other)),
    }
}

/// Removes the key: 204, or 404 if it was not there.
pub(super) async fn delete(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    let condition: Condition = condition::of_write(&headers)?;
    let at = At::parse(&uri)?;
    let delete = Command::Delete { key: at.key.clone(), condition, previous: false };
    match execute(&shared, &at, delete).await? {
        Reply::Deleted { existed: true, .. } => Ok(StatusCode::NO_CONTENT),
        Reply::Deleted { existed: false, .. } => Err(no_key()),
        other => Err(surprise(other)),
    }
}

/// One command at the door.
async fn execute(shared: &Shared, at: &At, command: Command) -> Result<Reply, Failure> {
    let inside = shared.inside()?;
    client_may_send(&command, shared.value_bytes_max).map_err(Failure::bad_request)?;
    if inside.door.locate(&at.table, &at.key).is_none() {
        return Err(Failure::not_found(format!("there is no table {:?}", at.table)));
    }
    let deadline = Duration::from_millis(limits::REQUEST_MS_DEFAULT);
    let request = Request { table: at.table.clone(), calls: vec![Call::new(command)], deadline };
    let result = shared.meter.execute(inside.door.as_ref(), request).await.pop();
    Ok(result.unwrap_or_else(|| Err(RequestError::Unknown("no result".into())))?)
}

/// The body, if it is not longer than any value and arrives in time.
async fn read(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, Failure> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > bytes_max) {
        return Err(Failure::too_large(bytes_max as u64));
    }
    let gather = async {
        let mut gathered = BytesMut::new();
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk =
                chunk.map_err(|error| Failure::bad_request(format!("the body did not arrive: {error}")))?;
            if gathered.len() + chunk.len() > bytes_max {
                return Err(Failure::too_large(bytes_max as u64));
            }
            gathered.extend_from_slice(&chunk);
        }
        Ok(gathered.freeze())
    };
    let too_slow = |_| Failure::too_slow(format!("the body did not arrive within {BODY_TIMEOUT:?}"));
    tokio::time::timeout(BODY_TIMEOUT, gather).await.map_err(too_slow)?
}

fn about(revision: u64, expires_at_ms: Option<u64>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(REVISION, revision.into());
    let tag =
        HeaderValue::try_from(format!("\"{revision}\"")).expect("digits and quotes are valid in a header");
    headers.insert(ETAG, tag);
    if let Some(at_ms) = expires_at_ms {
        headers.insert(EXPIRES, at_ms.into());
    }
    headers
}

fn no_key() -> Failure {
    Failure::not_found("there is no such key")
}

/// A reply that is not the one hoped for.
fn surprise(reply: Reply) -> Failure {
    match reply {
        Reply::ConditionFailed { current: Some(current) } => {
            Failure::condition(format!("the condition does not hold: the revision is {}", current.revision))
        }
        Reply::ConditionFailed { current: None } => {
            Failure::condition("the condition does not hold: there is no such key")
        }
        Reply::Refused(refusal) => refusal.into(),
        _ => odd(),
    }
}

fn odd() -> Failure {
    Failure::unknown("the reply does not fit the request")
}

/// Which key of which table.
struct At {
    table: String,
    key: Bytes,
}

impl At {
    /// Reads the path itself: keys are bytes, and axum's own extractor takes text only.
    fn parse(uri: &Uri) -> Result<At, Failure> {
        let bad = || Failure::bad_request("the path is not /v1/tables/TABLE/keys/KEY in percent-encoding");
        let rest = uri.path().strip_prefix("/v1/tables/").ok_or_else(bad)?;
        let (table, key) = rest.split_once("/keys/").ok_or_else(bad)?;
        let table = percent_decoded(table).and_then(|raw| String::from_utf8(raw).ok()).ok_or_else(bad)?;
        let key = percent_decoded(key).ok_or_else(bad)?.into();
        Ok(At { table, key })
    }
}

/// `None` if a percent sign is not followed by two hexadecimal digits.
fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            plain => plain,
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod unit {
    use super::percent_decoded;

    #[test]
    fn keys_are_bytes() {
        assert_eq!(percent_decoded("a%2Fb%00%ff+").as_deref(), Some(&b"a/b\0\xff+"[..]));
        for broken in ["%", "%1", "%zz", "a%+1"] {
            assert_eq!(percent_decoded(broken), None, "{broken}");
        }
    }
}
