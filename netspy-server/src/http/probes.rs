//! `/livez` and `/readyz`: whether to restart the server, and whether to trust it now.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use netspy_api::{Liveness, Readiness, ReadinessCheck};

use super::error::Failure;
use super::{ApiState, Shared, render};
use crate::domain::{HistoryError, Window};

/// It answers, so it lives: whatever else is wrong, a restart would not mend it.
pub(super) async fn live() -> Result<Response, Failure> {
    render::json(&Liveness { status: "alive".to_owned() })
}

/// Ready is a server whose answers are complete: the pipeline drains the rings, the store takes what it writes and can be
/// read, and every probe that was attached still is.
pub(super) async fn ready(State(api): Shared) -> Result<Response, Failure> {
    let asked = tokio::task::spawn_blocking(move || {
        let none = Window { since_ns: i64::MAX, until_ns: i64::MAX };
        [
            check("recording", api.barrier.written()),
            check("history", api.history.losses(none).map(drop)),
            check("probes", attached(&api)),
        ]
    });
    let checks = asked.await.map_err(|error| Failure::unavailable(&error))?;
    let ready = checks.iter().all(|check| check.ok);
    let answer = render::json(&Readiness { ready, checks: checks.into() })?;
    Ok(if ready { answer } else { (StatusCode::SERVICE_UNAVAILABLE, answer).into_response() })
}

fn attached(api: &ApiState) -> Result<(), HistoryError> {
    let detached = api.programs.detached();
    if detached.is_empty() {
        Ok(())
    } else {
        Err(HistoryError(format!("{}; restart netspy-server", detached.join("; "))))
    }
}

fn check(name: &str, result: Result<(), HistoryError>) -> ReadinessCheck {
    let detail = result.err().map(|error| error.to_string());
    ReadinessCheck { name: name.to_owned(), ok: detail.is_none(), detail }
}
