//! The HTTP API: routes, and what they need.
//!
//! Owns the mapping between requests and the domain's [`History`]; the wire types are `netspy-api`'s. It knows
//! no SQL, no kernel and no listener: `access/` passes requests to [`Api`], from whatever was bound.
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
mod slashes;
mod status;
mod stream;
mod top;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::tz::TimeZone;
use serde::Serialize;
use tokio::sync::oneshot::channel;
use tokio::time::timeout;

use crate::domain::{ANSWER_WITHIN, Barrier, Clock, History, HistoryError, Hook, Programs, Sockets};
use crate::feed::Feed;
pub use answers::Answers;
use answers::Question;
use error::Failure;

/// Most bytes of a body: every known parameter fits in it many times.
const MOST_BODY_BYTES: usize = 64 * 1024;

/// What the API is made of.
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

/// As each handler gets it.
type Shared = State<Arc<ApiState>>;

impl ApiState {
    /// The answer to `question` as JSON.
    async fn answer<T: Serialize + Send + 'static>(
        &self,
        question: impl FnOnce(&dyn History, &TimeZone) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<Response, Failure> {
        render::json(&self.ask(question).await?)
    }

    /// The same; what was answered just now is answered again if it would be the same, and read once for all who ask at once. `question` asks what `asked` says.
    async fn answer_again<T: Serialize>(
        &self,
        asked: Question,
        question: impl FnOnce(&dyn History, &TimeZone) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<Response, Failure> {
        self.reached().await?;
        let read = async || {
            let history = Arc::clone(&self.history);
            off_the_async_threads(move || {
                render::line(&question(&*history, &TimeZone::system())?)
                    .map_err(|error| HistoryError(error.to_string()))
            })
            .await
        };
        self.answers.to(asked).now(&self.feed, read).await.map(render::body)
    }

    /// Runs `question` off the async threads, as it reads files, after what happened before it.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn History, &TimeZone) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, Failure> {
        self.reached().await?;
        let history = Arc::clone(&self.history);
        off_the_async_threads(move || question(&*history, &TimeZone::system())).await
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

/// The API: endpoints, and the guard before them. Clones share all of it.
///
/// Layers of a router cost each request more than most answers do, and come too late to change its path: hence functions.
#[derive(Clone)]
pub struct Api {
    routes: Router,
    allowed_hosts: Arc<[String]>,
}

impl Api {
    /// All endpoints, answering from `state`.
    pub fn of(state: ApiState) -> Self {
        let allowed_hosts = Arc::clone(&state.allowed_hosts);
        let routes = endpoints::all()
            .into_iter()
            .fold(Router::new(), |routes, endpoint| routes.route(endpoint.path, endpoint.routing))
            // As the earlier server called it.
            .route("/docs/", get(docs::serve))
            .fallback(error::unknown_path)
            .method_not_allowed_fallback(error::wrong_method)
            .with_state(Arc::new(state));
        Self { routes, allowed_hosts }
    }

    /// The answer to a request, be it a refusal.
    pub async fn answer(self, request: Request) -> Response {
        guard::guarded(self.routes, request, &self.allowed_hosts).await
    }
}

/// An answer that refuses, in the form that all of them have; for who stands before the API.
pub fn refusal(status: StatusCode, message: impl Into<String>) -> Response {
    Failure::new(status, message).into_response()
}
