//! `/api/packet-drop-summary` and `/api/list-packet-drops`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use jiff::tz::TimeZone;
use netspy_api::{DropSummary, Event, EventsByPid, Location};

use super::answers::Question;
use super::error::Failure;
use super::params::Params;
use super::query::{Kind, ListQuery, OF_CONNECTIONS, SummaryQuery};
use super::{Shared, events, render};
use crate::domain::{CountedKind, DropClass, History, HistoryError, ReasonCounts, explain};

/// Places that a summary names.
const MOST_LOCATIONS: usize = 20;

pub(super) async fn summary(State(api): Shared, params: Params) -> Result<Response, Failure> {
    params.refuse(&OF_CONNECTIONS, "ask /api/list-connections or /api/events for it")?;
    let query = Arc::new(SummaryQuery::parse(&params, api.clock.now_ns())?);
    let asked = Question::DropSummary(query.clone());
    api.answer_again(asked, move |history, zone| summarise(history, zone, &query)).await
}

pub(super) async fn list(State(api): Shared, params: Params) -> Result<Response, Failure> {
    params.refuse(&OF_CONNECTIONS, "ask /api/list-connections or /api/events for it")?;
    let query = Arc::new(ListQuery::parse(&params, api.clock.now_ns())?);
    let asked = Question::DropList(query.clone());
    api.answer_again(asked, move |history, zone| list_events(history, zone, &query)).await
}

fn summarise(
    history: &dyn History,
    zone: &TimeZone,
    query: &SummaryQuery,
) -> Result<DropSummary, HistoryError> {
    let recorded = history.drop_counts(&query.filter)?;
    let unrecorded = history.unrecorded(CountedKind::Drop, &query.filter)?;
    let lost = history.losses(query.filter.window)?;
    let sampled = render::sampled(recorded.values().sum(), &unrecorded);
    let count = sampled.counted;
    let found = tally(recorded.into_iter().chain(unrecorded.matching));
    let (who, duration) = (events::subject(&query.filter), query.duration_seconds);
    Ok(DropSummary {
        count,
        total_drops: count,
        duration_seconds: duration,
        duration,
        pid: query.filter.pid.unwrap_or(0),
        query_time: render::whole_seconds(query.end_ns, zone),
        message: format!("{who} had {count} {}", events::counted("packet drops", query, zone)),
        reasons: found.reasons,
        classes: found.classes,
        unclassified_at: found.unclassified_at,
        sampled: Some(sampled),
        lost: Some(render::lost(&lost)),
        command: query.filter.process.clone().unwrap_or_default(),
    })
}

/// Drops by what they have in common.
#[derive(Default)]
struct Tally {
    reasons: BTreeMap<String, u64>,
    classes: BTreeMap<String, u64>,
    unclassified_at: Vec<Location>,
}

fn tally(counts: impl Iterator<Item = ((String, String), u64)>) -> Tally {
    let mut found = Tally::default();
    let mut unclassified = ReasonCounts::new();
    for ((reason, location), count) in counts {
        let (class, _) = explain(&reason);
        *found.classes.entry(class.name().to_owned()).or_default() += count;
        *found.reasons.entry(reason.clone()).or_default() += count;
        if class == DropClass::Unclassified {
            *unclassified.entry((reason, location)).or_default() += count;
        }
    }
    let places = unclassified.into_iter();
    found.unclassified_at =
        places.map(|((reason, location), count)| Location { location, reason, count }).collect();
    found.unclassified_at.sort_by_key(|place| std::cmp::Reverse(place.count));
    found.unclassified_at.truncate(MOST_LOCATIONS);
    found
}

/// Drops that nobody is known for are listed under pid 0.
fn list_events(
    history: &dyn History,
    zone: &TimeZone,
    query: &ListQuery,
) -> Result<EventsByPid<Event>, HistoryError> {
    let kind = Kind::Drop;
    let (filter, limit) = query.page(kind);
    let page = history.drops(&filter, limit)?;
    let rows = page.rows.iter().map(|row| {
        let pid = row.owner.as_ref().map_or(0, |owner| owner.pid);
        ((row.wall_ns, kind, row.id), (pid, render::packet_drop(row, zone)))
    });
    let lost = history.losses(query.filter.window)?;
    let unrecorded = history.unrecorded(CountedKind::Drop, &query.filter)?;
    let list = events::by_pid(rows.collect(), page.total, &lost, query, zone);
    Ok(EventsByPid { sampled: Some(render::sampled(page.total, &unrecorded)), ..list })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_added_up_by_reason_class_and_where_they_have_no_class_by_place() {
        let counts = [
            (("NO_SOCKET", "tcp_v4_rcv+0x1"), 3),
            (("QUEUE_PURGE", "skb_queue_purge+0x2"), 5),
            (("NOT_SPECIFIED", "a+0x1"), 1),
            (("NOT_SPECIFIED", "b+0x1"), 4),
            (("NOT_SPECIFIED", "a+0x1"), 2),
        ];
        let named = |((reason, location), count): ((&str, &str), u64)| {
            ((reason.to_owned(), location.to_owned()), count)
        };
        let found = tally(counts.into_iter().map(named));
        assert_eq!(found.reasons.values().sum::<u64>(), 15);
        let classes = [("expected", 5), ("harmful", 3), ("unclassified", 7)];
        assert_eq!(found.classes, classes.map(|(class, count)| (class.to_owned(), count)).into());
        let places: Vec<_> =
            found.unclassified_at.iter().map(|at| (at.location.as_str(), at.count)).collect();
        assert_eq!(places, [("b+0x1", 4), ("a+0x1", 3)]);
    }
}
