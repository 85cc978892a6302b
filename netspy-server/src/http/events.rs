//! `/api/events`: every kind in one list; and what the two kinds' own endpoints share.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use jiff::tz::TimeZone;
use netspy_api::{Event, EventList, EventsByPid, Sampled};
use serde_json::{Value, json};

use super::error::Failure;
use super::params::Params;
use super::query::{Cursor, Kind, ListQuery, SummaryQuery};
use super::{Shared, render};
use crate::domain::{CountedKind, Filter, History, HistoryError, LossCounts};

pub(super) async fn list(State(api): Shared, params: Params) -> Result<Response, Failure> {
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
    for kind in Kind::all().filter(|kind| event_type.is_none_or(|name| name == kind.name())) {
        let (filter, limit) = query.page(kind);
        let counted = match kind {
            Kind::Connection => {
                let page = history.connections(&filter, limit)?;
                total_count += page.total;
                found.extend(
                    page.rows.iter().map(|row| ((row.wall_ns, kind, row.id), render::connection(row, zone))),
                );
                continue;
            }
            Kind::Drop => {
                let page = history.drops(&filter, limit)?;
                found.extend(
                    page.rows.iter().map(|row| ((row.wall_ns, kind, row.id), render::packet_drop(row, zone))),
                );
                (page.total, CountedKind::Drop)
            }
            Kind::Trouble(trouble) => {
                let page = history.troubles(trouble, &filter, limit)?;
                found.extend(
                    page.rows.iter().map(|row| ((row.wall_ns, kind, row.id), render::trouble(row, zone))),
                );
                (page.total, CountedKind::Trouble(trouble))
            }
        };
        total_count += counted.0;
        let more = render::sampled(counted.0, &history.unrecorded(counted.1, &query.filter)?);
        sampled.counted += more.counted;
        sampled.recorded += more.recorded;
        sampled.unattributed += more.unattributed;
    }
    // Within a kind they are in order; what is equal stays in that order.
    found.sort_by_key(|((wall_ns, kind, _), _)| (std::cmp::Reverse(*wall_ns), *kind));
    let (found, next_cursor) = page(found, query.limit);
    Ok(EventList {
        count: found.len() as u64,
        events: found,
        total_count,
        next_cursor,
        query_time: render::whole_seconds(query.end_ns(), zone),
        filters: filters(event_type, query, zone),
        sampled: Some(sampled),
        lost: Some(render::lost(&history.losses(query.filter.window)?)),
    })
}

/// An event with its wall time, kind and id.
type At<T> = ((i64, Kind, u64), T);

/// The first `limit` of them, and where the list goes on if there are more.
fn page<T>(mut found: Vec<At<T>>, limit: u32) -> (Vec<T>, Option<String>) {
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let last = found.last().filter(|_| more);
    let next =
        last.map(|((wall_ns, kind, id), _)| Cursor { wall_ns: *wall_ns, kind: *kind, id: *id }.to_string());
    (found.into_iter().map(|(_, event)| event).collect(), next)
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
    .chain(query.conditions.iter().map(|(name, given)| ((*name).to_owned(), json!(given))))
    .collect()
}

/// Newest-first rows, of which there may be one more than asked for, in the lists of their pids.
pub(super) fn by_pid(
    rows: Vec<At<(u32, Event)>>,
    total: u64,
    lost: &LossCounts,
    query: &ListQuery,
    zone: &TimeZone,
) -> EventsByPid<Event> {
    let (rows, next_cursor) = page(rows, query.limit);
    let total_events = rows.len() as u64;
    let mut events_by_pid = BTreeMap::<String, Vec<Event>>::new();
    for (pid, event) in rows {
        events_by_pid.entry(pid.to_string()).or_default().push(event);
    }
    EventsByPid {
        total_pids: events_by_pid.len() as u64,
        events_by_pid,
        query_time: render::whole_seconds(query.end_ns(), zone),
        total_events,
        total_count: Some(total),
        truncated: next_cursor.is_some(),
        next_cursor,
        sampled: None,
        lost: Some(render::lost(lost)),
    }
}

/// `attempts` or `drops` that were counted, and when, as the end of a sentence.
pub(super) fn counted(what: &str, query: &SummaryQuery, zone: &TimeZone) -> String {
    let seconds = query.duration_seconds;
    let conditions = if query.conditions.is_empty() { "" } else { "that meet the conditions " };
    if query.has_end {
        let end = render::whole_seconds(query.end_ns, zone);
        format!("{what} {conditions}in the {seconds} seconds before {end}")
    } else {
        format!("{what} {conditions}over the last {seconds} seconds")
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
