//! Every endpoint once: its path, what it takes, what it answers, and who answers. The router, the index and the description
//! of the API are made from this list, so that none of them knows more than another.

use std::sync::Arc;

use axum::handler::Handler;
use axum::routing::{MethodRouter, get};
use netspy_api::{
    ConnectionSummary, DropSummary, Event, EventList, EventsByPid, EventsRequest, Health, Lagged,
    ListRequest, Listeners, Liveness, Programs, Readiness, StreamRequest, SummaryRequest, TopList,
    TopRequest,
};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::query::{OF_CONNECTIONS, OF_PACKETS};
use super::{
    ApiState, connections, docs, drops, events, listeners, metrics, openapi, probes, status, stream, top,
};

/// Makes the schema of a type.
pub(super) type Describe = fn(&mut SchemaGenerator) -> Schema;

/// What an endpoint answers.
pub(super) enum Answers {
    Json(Describe),
    /// Server-sent events, whose data is one of these.
    Events([Describe; 2]),
    /// Text of this type.
    Text(&'static str),
}

/// One of them.
pub(super) struct Endpoint {
    pub(super) path: &'static str,
    /// What it is for, in a sentence.
    pub(super) summary: &'static str,
    /// `get`, and `post` with the same parameters as a JSON object.
    pub(super) methods: &'static [&'static str],
    pub(super) routing: MethodRouter<Arc<ApiState>>,
    /// Its parameters, and which of them it refuses.
    pub(super) takes: Option<(Describe, &'static [&'static str])>,
    pub(super) answers: Answers,
    /// Another status with which it answers the same.
    pub(super) also: Option<u16>,
}

impl Endpoint {
    fn get<T: 'static>(
        path: &'static str,
        summary: &'static str,
        answers: Answers,
        handler: impl Handler<T, Arc<ApiState>>,
    ) -> Self {
        let routing = get(handler);
        Self { path, summary, methods: &["get"], routing, takes: None, answers, also: None }
    }

    /// By both verbs.
    fn ask<T: 'static>(
        path: &'static str,
        summary: &'static str,
        answers: Answers,
        handler: impl Handler<T, Arc<ApiState>>,
    ) -> Self {
        let routing = get(handler.clone()).post(handler);
        Self { path, summary, methods: &["get", "post"], routing, takes: None, answers, also: None }
    }

    fn taking<T: JsonSchema>(mut self, but: &'static [&'static str]) -> Self {
        self.takes = Some((SchemaGenerator::subschema_for::<T>, but));
        self
    }
}

fn json<T: JsonSchema>() -> Answers {
    Answers::Json(SchemaGenerator::subschema_for::<T>)
}

/// Each of them, in the order in which they are described.
pub(super) fn all() -> Vec<Endpoint> {
    let followed = [SchemaGenerator::subschema_for::<Event>, SchemaGenerator::subschema_for::<Lagged>];
    vec![
        Endpoint::ask(
            "/api/connection-summary",
            "How many outbound connections were attempted, by outcome.",
            json::<ConnectionSummary>(),
            connections::summary,
        )
        .taking::<SummaryRequest>(&OF_PACKETS),
        Endpoint::ask(
            "/api/packet-drop-summary",
            "How many packets the kernel dropped, by reason and class.",
            json::<DropSummary>(),
            drops::summary,
        )
        .taking::<SummaryRequest>(&OF_CONNECTIONS),
        Endpoint::ask(
            "/api/list-connections",
            "The newest connections, by process.",
            json::<EventsByPid<Event>>(),
            connections::list,
        )
        .taking::<ListRequest>(&OF_PACKETS),
        Endpoint::ask(
            "/api/list-packet-drops",
            "The newest dropped packets, by process; those that nobody is known for are under 0.",
            json::<EventsByPid<Event>>(),
            drops::list,
        )
        .taking::<ListRequest>(&OF_CONNECTIONS),
        Endpoint::ask("/api/events", "The newest events of all kinds or of one.", json::<EventList>(), events::list)
            .taking::<EventsRequest>(&[]),
        Endpoint::ask("/api/top", "The groups of most events.", json::<TopList>(), top::list)
            .taking::<TopRequest>(&[]),
        Endpoint::get(
            "/api/stream",
            "Events as they are recorded, as server-sent events; `Last-Event-ID` goes on from the history, and an event \
             `lagged` says what a slow client has missed.",
            Answers::Events(followed),
            stream::follow,
        )
        .taking::<StreamRequest>(&[]),
        Endpoint::get(
            "/api/listeners",
            "Who waits for connections or datagrams at this moment.",
            json::<Listeners>(),
            listeners::list,
        ),
        Endpoint::get("/api/programs", "What is traced, and how.", json::<Programs>(), status::programs),
        Endpoint::get("/health", "How the server is.", json::<Health>(), status::health),
        Endpoint::get("/livez", "Whether the server lives.", json::<Liveness>(), probes::live),
        Endpoint {
            also: Some(503),
            ..Endpoint::get(
                "/readyz",
                "Whether what the server answers is complete: with status 503 if not.",
                json::<Readiness>(),
                probes::ready,
            )
        },
        Endpoint::get(
            "/metrics",
            "What is recorded, lost, waiting and stored, and what tracing costs, for Prometheus.",
            Answers::Text("application/openmetrics-text"),
            metrics::scrape,
        ),
        Endpoint::get(
            "/openapi.json",
            "This description (OpenAPI 3.1).",
            json::<serde_json::Map<String, serde_json::Value>>(),
            openapi::serve,
        ),
        Endpoint::get("/docs", "This description, to read.", Answers::Text("text/html"), docs::serve),
        Endpoint::get(
            "/",
            "What there is.",
            json::<serde_json::Map<String, serde_json::Value>>(),
            status::index,
        ),
    ]
}

/// The paths, in the same order.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    all().into_iter().map(|endpoint| endpoint.path)
}
