//! `/api/events`: every kind in one list; and what the two kinds' own endpoints share.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use jiff::tz::TimeZone;
use netspy_api::{Event, EventList, EventsByPid, Sampled};
use serde_json::{Value, json};

use super::error::Failure;
use super::params::Params;
use super::query::ListQuery;
use super::{ApiState, render};
use crate::domain::{CountedKind, Filter, History, HistoryError, LossCounts, TroubleKind, Unrecorded};

pub(super) async fn list(State(api): State<ApiState>, params: Params) -> Result<Response, Failure> {
    let event_type = params.text("type")?;
    let query = ListQuery::parse_unbounded(&params, api.clock.now_ns())?;
    api.answer(move |history, zone| list_events(history, zone, event_type.as_deref(), &query)).await
}

/// Newest first by wall time: the kernel's timestamps begin anew with every boot, and history outlives those.
fn list_events(
    history: &dyn History,
    zone: &TimeZone,
    event_type: Option<&str>,
    query: &ListQuery,
) -> Result<EventList, HistoryError> {
    let mut found = Vec::new();
    let mut total_count = 0;
    let mut sampled = Sampled::default();
    let mut add = |recorded: u64, unrecorded: &Unrecorded| {
        let more = render::sampled(recorded, unrecorded);
        sampled.counted += more.counted;
        sampled.recorded += more.recorded;
        sampled.unattributed += more.unattributed;
    };
    if matches!(event_type, None | Some("connection")) {
        let page = history.connections(&query.filter, query.limit)?;
        total_count += page.total;
        found.extend(page.rows.iter().map(|row| (row.wall_ns, render::connection(row, zone))));
    }
    if matches!(event_type, None | Some("packet_drop")) {
        let page = history.drops(&query.filter, query.limit)?;
        total_count += page.total;
        found.extend(page.rows.iter().map(|row| (row.wall_ns, render::packet_drop(row, zone))));
        add(page.total, &history.unrecorded(CountedKind::Drop, &query.filter)?);
    }
    for kind in TroubleKind::ALL {
        if event_type.is_none_or(|name| name == kind.name()) {
            let page = history.troubles(kind, &query.filter, query.limit)?;
            total_count += page.total;
            found.extend(page.rows.iter().map(|row| (row.wall_ns, render::trouble(row, zone))));
            add(page.total, &history.unrecorded(CountedKind::Trouble(kind), &query.filter)?);
        }
    }
    found.sort_by_key(|(wall_ns, _)| std::cmp::Reverse(*wall_ns));
    found.truncate(query.limit as usize);
    let events: Vec<_> = found.into_iter().map(|(_, event)| event).collect();
    Ok(EventList {
        count: events.len() as u64,
        events,
        total_count,
        query_time: render::whole_seconds(query.end_ns(), zone),
        filters: filters(event_type, query, zone),
        sampled: Some(sampled),
        lost: Some(render::lost(&history.losses(query.filter.window)?)),
    })
}

/// What was asked for, as it was understood.
fn filters(event_type: Option<&str>, query: &ListQuery, zone: &TimeZone) -> BTreeMap<String, Value> {
    let moment = |wall_ns: Option<i64>| wall_ns.map(|wall_ns| json!(render::time(wall_ns, zone)));
    [
        ("type", event_type.map(|event_type| json!(event_type))),
        ("pid", query.filter.pid.map(|pid| json!(pid))),
        ("command", query.filter.process.as_ref().map(|name| json!(name))),
        ("since", moment(query.since_ns)),
        ("until", moment(query.until_ns)),
        ("duration_seconds", query.duration_seconds.map(|seconds| json!(seconds))),
        ("limit", Some(json!(query.limit))),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

/// Newest-first rows in the lists of their pids.
pub(super) fn by_pid(
    rows: impl Iterator<Item = (u32, Event)>,
    total: u64,
    lost: &LossCounts,
    query_time: String,
) -> EventsByPid<Event> {
    let mut events_by_pid = BTreeMap::<String, Vec<Event>>::new();
    let mut total_events = 0;
    for (pid, event) in rows {
        events_by_pid.entry(pid.to_string()).or_default().push(event);
        total_events += 1;
    }
    EventsByPid {
        total_pids: events_by_pid.len() as u64,
        events_by_pid,
        query_time,
        total_events,
        total_count: Some(total),
        truncated: total > total_events,
        sampled: None,
        lost: Some(render::lost(lost)),
    }
}

/// Whom a summary is about, as the beginning of a sentence.
pub(super) fn subject(filter: &Filter) -> String {
    match (filter.pid, &filter.process) {
        (Some(pid), Some(name)) => format!("PID {pid} of process '{name}'"),
        (Some(pid), None) => format!("PID {pid}"),
        (None, Some(name)) => format!("Process '{name}'"),
        (None, None) => "All processes".to_owned(),
    }
}
