//! Every answer that is not a success: a status and a sentence that says what to do, as a problem of RFC 9457.

use std::fmt::Display;

use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use netspy_api::ErrorBody;

use super::endpoints;

/// A problem in JSON (RFC 9457).
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// Why a request was not answered.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    message: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// The request makes no sense; `message` says which part and what it takes.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The question is fine, but there is no answer now.
    pub(super) fn unavailable(error: &dyn Display) -> Self {
        let message = format!("the history cannot be read now: {error}; see the server's log");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    #[cfg(test)]
    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error").to_owned();
        let body = ErrorBody {
            problem_type: "about:blank".to_owned(),
            title: title.clone(),
            status: self.status.as_u16(),
            detail: self.message.clone(),
            error: title,
            message: self.message,
        };
        let mut body = serde_json::to_vec(&body).unwrap_or_default();
        body.push(b'\n');
        (self.status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
    }
}

pub(super) async fn unknown_path() -> Failure {
    let paths = endpoints::paths().collect::<Vec<_>>().join(", ");
    Failure::new(StatusCode::NOT_FOUND, format!("nothing is at this path; there are {paths}"))
}

pub(super) async fn wrong_method(method: Method) -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("this path does not take {method}; the Allow header names what it takes"),
    )
}
