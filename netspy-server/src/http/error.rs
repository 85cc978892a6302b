//! Every answer that is not a success: a status and a sentence that says what to do, as JSON.

use std::fmt::Display;

use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use netspy_api::ErrorBody;

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
        let error = self.status.canonical_reason().unwrap_or("Error").to_owned();
        let mut body = serde_json::to_vec(&ErrorBody { error, message: self.message }).unwrap_or_default();
        body.push(b'\n');
        (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

pub(super) async fn unknown_path() -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        "nothing is at this path; there are /health, /api/connection-summary, /api/packet-drop-summary, \
         /api/list-connections, /api/list-packet-drops, /api/events and /api/programs",
    )
}

pub(super) async fn wrong_method(method: Method) -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("this path does not take {method}; the Allow header names what it takes"),
    )
}
