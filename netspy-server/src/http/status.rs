//! `/`, `/health` and `/api/programs`: what the server is and how it does.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use jiff::tz::TimeZone;
use netspy_api::{Health, Program, Programs};
use serde_json::json;

use super::error::Failure;
use super::{Shared, endpoints, render};
use crate::domain::{History, HistoryError, Hook, Window};

const HOUR_NS: i64 = 3_600_000_000_000;

pub(super) async fn index() -> Result<Response, Failure> {
    let name = |path: &str| path.trim_start_matches("/api").trim_matches('/').replace(['-', '.'], "_");
    let endpoints: BTreeMap<_, _> =
        endpoints::paths().filter(|path| *path != "/").map(|path| (name(path), path)).collect();
    render::json(&json!({
        "service": "eBPF Network Monitor",
        "version": concat!("v", env!("CARGO_PKG_VERSION")),
        "description": "Which process talks to whom, what fails and what is dropped",
        "endpoints": endpoints,
        "documentation": {"api": "/docs", "openapi": "/openapi.json"},
    }))
}

pub(super) async fn health(State(api): Shared) -> Result<Response, Failure> {
    let (hooks, now_ns, feed) = (api.hooks.clone(), api.clock.now_ns(), api.feed.clone());
    api.answer(move |history, zone| {
        let running = feed.is_stored() && hooks.iter().all(render::works);
        report(history, zone, &hooks, running, now_ns)
    })
    .await
}

pub(super) async fn programs(State(api): Shared) -> Result<Response, Failure> {
    let (hooks, now_ns) = (api.hooks.clone(), api.clock.now_ns());
    api.answer(move |history, zone| list_programs(history, zone, &hooks, now_ns)).await
}

/// Also reads the history: a server that cannot is not healthy, and one that cannot write is degraded.
fn report(
    history: &dyn History,
    zone: &TimeZone,
    hooks: &[Hook],
    running: bool,
    now_ns: i64,
) -> Result<Health, HistoryError> {
    Ok(Health {
        status: if running { "healthy" } else { "degraded" }.to_owned(),
        component: "eBPF Monitor API".to_owned(),
        uptime: "active".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        running,
        time: render::whole_seconds(now_ns, zone),
        programs: hooks.iter().map(render::program).collect(),
        lost: Some(render::lost(&history.losses(last_hour(now_ns))?)),
    })
}

fn list_programs(
    history: &dyn History,
    zone: &TimeZone,
    hooks: &[Hook],
    now_ns: i64,
) -> Result<Programs, HistoryError> {
    let programs: Vec<Program> = hooks.iter().map(render::program).collect();
    Ok(Programs {
        total_count: programs.len() as u64,
        programs,
        query_time: render::whole_seconds(now_ns, zone),
        lost: Some(render::lost(&history.losses(last_hour(now_ns))?)),
    })
}

fn last_hour(now_ns: i64) -> Window {
    Window { since_ns: now_ns.saturating_sub(HOUR_NS), until_ns: i64::MAX }
}
