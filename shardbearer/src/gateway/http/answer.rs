//! Errors as JSON, and which status says what.
//!
//! | status | says |
//! |---|---|
//! | 400 | the request makes no sense |
//! | 404 | no such table, key or place |
//! | 408 | the body did not arrive in time; nothing was done |
//! | 409 | the data refuse the command |
//! | 412 | the condition does not hold |
//! | 413 | the value is too large |
//! | 503 | refused without effect; try again |
//! | 504 | may have taken effect, or may still do so |

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::kv::Refusal;

/// Why a request has no other answer.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    body: Body,
}

#[derive(Debug, Serialize)]
struct Body {
    /// A sentence.
    error: String,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// Certainly without effect.
    Refused,
    /// May have had one.
    Unknown,
}

impl Failure {
    fn refused(status: StatusCode, error: impl Into<String>) -> Failure {
        Failure { status, body: Body { error: error.into(), outcome: Outcome::Refused } }
    }

    pub(super) fn bad_request(why: impl Into<String>) -> Failure {
        Failure::refused(StatusCode::BAD_REQUEST, why)
    }

    pub(super) fn not_found(why: impl Into<String>) -> Failure {
        Failure::refused(StatusCode::NOT_FOUND, why)
    }

    pub(super) fn method_not_allowed(why: impl Into<String>) -> Failure {
        Failure::refused(StatusCode::METHOD_NOT_ALLOWED, why)
    }

    pub(super) fn too_slow(why: impl Into<String>) -> Failure {
        Failure::refused(StatusCode::REQUEST_TIMEOUT, why)
    }

    pub(super) fn condition(why: impl Into<String>) -> Failure {
        Failure::refused(StatusCode::PRECONDITION_FAILED, why)
    }

    pub(super) fn too_large(limit: u64) -> Failure {
        let why = format!("the value is too large; at most {limit} bytes are allowed");
        Failure::refused(StatusCode::PAYLOAD_TOO_LARGE, why)
    }

    pub(super) fn unavailable(why: impl Into<String>) -> Failure {
        Failure::refused(StatusCode::SERVICE_UNAVAILABLE, why)
    }

    pub(super) fn unknown(why: impl Into<String>) -> Failure {
        let body = Body { error: why.into(), outcome: Outcome::Unknown };
        Failure { status: StatusCode::GATEWAY_TIMEOUT, body }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        let why = error.to_string();
        match error {
            RequestError::Unknown(_) => Failure::unknown(why),
            RequestError::Refused(refused) => match refused {
                Refused::Invalid(_) => Failure::bad_request(why),
                Refused::NotHerald { .. }
                | Refused::WrongOrder { .. }
                | Refused::Busy(_)
                | Refused::DiskFull(_)
                | Refused::Unavailable(_)
                | Refused::Closed => Failure::unavailable(why),
            },
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let conflict = |why: &str| Failure::refused(StatusCode::CONFLICT, why);
        match refusal {
            Refusal::TooLarge { limit } => Failure::too_large(limit),
            Refusal::NotAnInteger => conflict("the value is not an integer of 64 bits"),
            Refusal::NotANumber => conflict("the value is not a finite number"),
            Refusal::Overflow => conflict("the result would leave the range of its type"),
            Refusal::Malformed(why) => Failure::bad_request(why),
            Refusal::WrongOrder => Failure::unavailable("the shard is moving to another order; try again"),
            Refusal::SessionsFull => Failure::unavailable("the shard remembers too many sessions; try again"),
            Refusal::SessionExpired => Failure::unknown("the shard forgot whether it did this"),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
