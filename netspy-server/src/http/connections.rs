//! `/api/connection-summary` and `/api/list-connections`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use jiff::tz::TimeZone;
use netspy_api::{ConnectionSummary, Event, EventsByPid};

use super::answers::Question;
use super::error::Failure;
use super::params::Params;
use super::query::{Kind, ListQuery, OF_PACKETS, SummaryQuery};
use super::{Shared, events, render};
use crate::domain::{Direction, History, HistoryError};

pub(super) async fn summary(State(api): Shared, params: Params) -> Result<Response, Failure> {
    params.refuse(&OF_PACKETS, "ask /api/list-packet-drops or /api/events for it")?;
    let query = Arc::new(SummaryQuery::parse(&params, api.clock.now_ns())?);
    let asked = Question::ConnectionSummary(query.clone());
    api.answer_again(asked, move |history, zone| summarise(history, zone, &query)).await
}

pub(super) async fn list(State(api): Shared, params: Params) -> Result<Response, Failure> {
    params.refuse(&OF_PACKETS, "ask /api/list-packet-drops or /api/events for it")?;
    let query = Arc::new(ListQuery::parse(&params, api.clock.now_ns())?);
    let asked = Question::ConnectionList(query.clone());
    api.answer_again(asked, move |history, zone| list_events(history, zone, &query)).await
}

fn summarise(
    history: &dyn History,
    zone: &TimeZone,
    query: &SummaryQuery,
) -> Result<ConnectionSummary, HistoryError> {
    let counts = history.connection_counts(&query.filter)?;
    let lost = history.losses(query.filter.window)?;
    let of = |wanted| counts.iter().filter(move |((direction, _), _)| *direction == wanted);
    let count = of(Direction::Outbound).map(|(_, count)| count).sum();
    let (who, duration) = (events::subject(&query.filter), query.duration_seconds);
    Ok(ConnectionSummary {
        count,
        total_attempts: count,
        duration_seconds: duration,
        duration,
        pid: query.filter.pid.unwrap_or(0),
        query_time: render::whole_seconds(query.end_ns, zone),
        message: format!(
            "{who} made {count} {}",
            events::counted("outbound connection attempts", query, zone)
        ),
        outcomes: of(Direction::Outbound)
            .map(|((_, verdict), count)| (verdict.name().to_owned(), *count))
            .collect(),
        inbound: of(Direction::Inbound).map(|(_, count)| count).sum(),
        lost: Some(render::lost(&lost)),
        command: query.filter.process.clone().unwrap_or_default(),
    })
}

fn list_events(
    history: &dyn History,
    zone: &TimeZone,
    query: &ListQuery,
) -> Result<EventsByPid<Event>, HistoryError> {
    let kind = Kind::Connection;
    let (filter, limit) = query.page(kind);
    let page = history.connections(&filter, limit)?;
    let rows = page.rows.iter();
    let rows =
        rows.map(|row| ((row.wall_ns, kind, row.id), (row.process.pid, render::connection(row, zone))));
    let lost = history.losses(query.filter.window)?;
    Ok(events::by_pid(rows.collect(), page.total, &lost, query, zone))
}
