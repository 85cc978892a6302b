//! The HTTP API: routes, and what they need.
//!
//! Owns the mapping between requests and the domain's [`History`]; the wire types are `netspy-api`'s. It knows
//! no SQL, no kernel and no listener: `axum::serve` runs what [`router`] returns, on whatever was bound.
//!
//! A query handler parses its parameters, waits for the [`Barrier`], so that what happened before the request is in
//! the answer, then asks the history from one function on a blocking thread, unless the answer is at hand ([`Answers`]). What cannot be answered is an error,
//! never an empty success.

mod answers;
mod connections;
mod docs;
mod drops;
mod endpoints;
mod error;
mod events;
mod guard;
mod listeners;
mod metrics;
mod openapi;
mod params;
mod probes;
mod query;
mod render;
mod status;
mod stream;
mod top;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::uri::PathAndQuery;
use axum::http::{StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::tz::TimeZone;
use serde::Serialize;
use tokio::sync::oneshot::channel;
use tokio::time::timeout;
use tower::ServiceExt;

use crate::domain::{ANSWER_WITHIN, Barrier, Clock, History, HistoryError, Hook, Programs, Sockets};
use crate::feed::Feed;
pub use answers::Answers;
use answers::Question;
use error::Failure;

/// Most bytes of a body: every known parameter fits in it many times.
const MOST_BODY_BYTES: usize = 64 * 1024;

/// What the API is made of.
#[derive(Clone)]
pub struct ApiState {
    /// Where answers come from.
    pub history: Arc<dyn History>,
    /// Waited for before every answer.
    pub barrier: Arc<dyn Barrier>,
    /// What "now" is.
    pub clock: Clock,
    /// What exists at the moment of a request.
    pub sockets: Arc<dyn Sockets>,
    /// What is recorded at this moment.
    pub feed: Arc<Feed>,
    /// What is in the kernel.
    pub programs: Arc<dyn Programs>,
    /// What is being traced, and how.
    pub hooks: Arc<[Hook]>,
    /// Host names, besides those of loopback, that a request may be addressed to; without port or brackets.
    pub allowed_hosts: Arc<[String]>,
    /// What was answered just now.
    pub answers: Arc<Answers>,
}

impl ApiState {
    /// The answer to `question` as JSON.
    async fn answer<T: Serialize + Send + 'static>(
        self,
        question: impl FnOnce(&dyn History, &TimeZone) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<Response, Failure> {
        render::json(&self.ask(question).await?)
    }

    /// The same; what was answered just now is answered again if it would be the same, and read once for all who ask at once. `question` asks what `asked` says.
    async fn answer_again<T: Serialize>(
        self,
        asked: Question,
        question: impl FnOnce(&dyn History, &TimeZone) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<Response, Failure> {
        self.reached().await?;
        // Before the history is read, which is then of this version or a later one.
        let answer = self.answers.to(asked, self.feed.version());
        let read = || {
            off_the_async_threads(move || {
                render::line(&question(&*self.history, &TimeZone::system())?)
                    .map_err(|error| HistoryError(error.to_string()))
            })
        };
        answer.get_or_try_init(read).await.cloned().map(render::body)
    }

    /// Runs `question` off the async threads, as it reads files, after what happened before it.
    async fn ask<T: Send + 'static>(
        self,
        question: impl FnOnce(&dyn History, &TimeZone) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, Failure> {
        self.reached().await?;
        off_the_async_threads(move || question(&*self.history, &TimeZone::system())).await
    }

    /// Waits until what happened before can be read.
    async fn reached(&self) -> Result<(), Failure> {
        let (answer, answered) = channel();
        // Who no longer waits needs no answer.
        self.barrier.ask(Box::new(move |reached| drop(answer.send(reached))));
        let reached = match timeout(ANSWER_WITHIN, answered).await {
            Ok(Ok(reached)) => reached.map(drop), // what cannot be written is in the ledger
            Ok(Err(_)) => Err(HistoryError::ended()),
            Err(_) => Err(HistoryError::too_late(ANSWER_WITHIN)),
        };
        reached.map_err(|error| Failure::unavailable(&error))
    }
}

async fn off_the_async_threads<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HistoryError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Failure::unavailable(&error)),
        Err(error) => Err(Failure::unavailable(&error)),
    }
}

/// The API as a service for `axum::serve`.
pub fn router(state: ApiState) -> Router {
    let allowed_hosts = Arc::clone(&state.allowed_hosts);
    let routes = endpoints::all()
        .into_iter()
        .fold(Router::new(), |routes, endpoint| routes.route(endpoint.path, endpoint.routing))
        // As the earlier server called it.
        .route("/docs/", get(docs::serve))
        .fallback(error::unknown_path)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
        .with_state(state);
    // A layer of a router runs after its routing, which is too late to change the path: hence one in another.
    Router::new()
        .fallback_service(routes.map_request(without_double_slashes))
        .layer(from_fn(guard::limit_time))
        .layer(from_fn_with_state(allowed_hosts, guard::check_addressee))
        .layer(map_response(guard::add_headers))
}

/// An answer that refuses, in the form that all of them have; for who stands before the API.
pub fn refusal(status: StatusCode, message: impl Into<String>) -> Response {
    Failure::new(status, message).into_response()
}

/// `//health` → `/health`: a client given `http://host:8080/` as its base asks for that. A redirect would turn
/// its POST into a GET.
fn without_double_slashes(mut request: Request) -> Request {
    if let Some(uri) = collapsed(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}

fn collapsed(uri: &Uri) -> Option<Uri> {
    if !uri.path().contains("//") {
        return None;
    }
    let mut path = String::with_capacity(uri.path().len());
    for character in uri.path().chars() {
        if character != '/' || !path.ends_with('/') {
            path.push(character);
        }
    }
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::collapsed;

    #[test]
    fn runs_of_slashes_become_one() {
        let collapse = |uri: &str| collapsed(&uri.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(collapse("//health").as_deref(), Some("/health"));
        assert_eq!(collapse("///api////events?a=//&b").as_deref(), Some("/api/events?a=//&b"));
        assert_eq!(collapse("/api//").as_deref(), Some("/api/"));
        assert_eq!(collapse("/api/events?a=//"), None);
        assert_eq!(collapse("http://h:1//x").as_deref(), Some("http://h:1/x"));
    }
}
