//! `/`, `/health` and `/api/programs`: what the server is and how it does.

use axum::extract::State;
use axum::response::Response;
use jiff::tz::TimeZone;
use netspy_api::{Health, Program, Programs};
use serde_json::json;

use super::error::Failure;
use super::{ApiState, render};
use crate::domain::{History, HistoryError, Hook, Window};

const HOUR_NS: i64 = 3_600_000_000_000;

pub(super) async fn index() -> Result<Response, Failure> {
    render::json(&json!({
        "service": "eBPF Network Monitor",
        "version": concat!("v", env!("CARGO_PKG_VERSION")),
        "description": "Which process talks to whom, what fails and what is dropped",
        "endpoints": {
            "health": "/health",
            "connection_summary": "/api/connection-summary",
            "packet_drop_summary": "/api/packet-drop-summary",
            "list_connections": "/api/list-connections",
            "list_packet_drops": "/api/list-packet-drops",
            "events": "/api/events",
            "listeners": "/api/listeners",
            "programs": "/api/programs",
        },
        "documentation": {
            "parameters": "pid, command, duration_seconds; lists also since, until, limit; events also type",
        },
    }))
}

pub(super) async fn health(State(api): State<ApiState>) -> Result<Response, Failure> {
    let (hooks, now_ns) = (api.hooks.clone(), api.clock.now_ns());
    api.answer(move |history, zone| report(history, zone, &hooks, now_ns)).await
}

pub(super) async fn programs(State(api): State<ApiState>) -> Result<Response, Failure> {
    let (hooks, now_ns) = (api.hooks.clone(), api.clock.now_ns());
    api.answer(move |history, zone| list_programs(history, zone, &hooks, now_ns)).await
}

/// Also waits for the barrier and reads the history: a server that records nothing any more is not healthy.
fn report(
    history: &dyn History,
    zone: &TimeZone,
    hooks: &[Hook],
    now_ns: i64,
) -> Result<Health, HistoryError> {
    let running = hooks.iter().all(render::works);
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
