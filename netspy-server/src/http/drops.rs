//! `/api/packet-drop-summary` and `/api/list-packet-drops`.

use axum::extract::State;
use axum::response::Response;
use jiff::tz::TimeZone;
use netspy_api::{DropSummary, Event, EventsByPid};

use super::error::Failure;
use super::params::Params;
use super::query::{ListQuery, SummaryQuery};
use super::{ApiState, events, render};
use crate::domain::{History, HistoryError};

pub(super) async fn summary(State(api): State<ApiState>, params: Params) -> Result<Response, Failure> {
    let query = SummaryQuery::parse(&params, api.clock.now_ns())?;
    api.answer(move |history, zone| summarise(history, zone, query)).await
}

pub(super) async fn list(State(api): State<ApiState>, params: Params) -> Result<Response, Failure> {
    let query = ListQuery::parse(&params, api.clock.now_ns())?;
    api.answer(move |history, zone| list_events(history, zone, &query)).await
}

fn summarise(
    history: &dyn History,
    zone: &TimeZone,
    query: SummaryQuery,
) -> Result<DropSummary, HistoryError> {
    let reasons = history.drop_counts(&query.filter)?;
    let lost = history.losses(query.filter.window)?;
    let count = reasons.values().sum();
    let (who, duration) = (events::subject(&query.filter), query.duration_seconds);
    Ok(DropSummary {
        count,
        total_drops: count,
        duration_seconds: duration,
        duration,
        pid: query.filter.pid.unwrap_or(0),
        query_time: render::whole_seconds(query.now_ns, zone),
        message: format!("{who} had {count} packet drops over the last {duration} seconds"),
        reasons,
        lost: Some(render::lost(&lost)),
        command: query.filter.process.unwrap_or_default(),
    })
}

/// Drops that nobody is known for are listed under pid 0.
fn list_events(
    history: &dyn History,
    zone: &TimeZone,
    query: &ListQuery,
) -> Result<EventsByPid<Event>, HistoryError> {
    let page = history.drops(&query.filter, query.limit)?;
    let rows = page.rows.iter().map(|row| {
        let pid = row.owner.as_ref().map_or(0, |owner| owner.pid);
        (pid, render::packet_drop(row, zone))
    });
    let lost = history.losses(query.filter.window)?;
    Ok(events::by_pid(rows, page.total, &lost, render::whole_seconds(query.end_ns(), zone)))
}
