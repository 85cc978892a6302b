//! Asking an earlier Go server or its aggregator for a list: they accept the parameters of the list endpoints and
//! ignore them, and give the newest 100 events of the last hour. Only `/api/events` filters there, and only by some.
//! v0.0.1 has not even that: its list takes a pid, knows addresses only as a text, and refuses a large limit.

use std::net::SocketAddr;

use jiff::{SignedDuration, Timestamp};
use netspy_api::{Client, ClientError, ConnectionEvent, EventsByPid, EventsRequest, ListRequest};

use super::listing::{Listed, as_comm};
use super::question::MOST_EVENTS;

/// What the list endpoints give at most, and how far back, in seconds.
pub(super) const LIMIT: usize = 100;
pub(super) const WINDOW: u32 = 3600;
/// The largest limit that v0.0.1 takes.
const LARGEST_LIMIT: u32 = 1_000;

/// A list, and what of it is missing for certain or perhaps.
pub(super) struct Asked<T> {
    pub(super) answer: EventsByPid<T>,
    pub(super) note: Option<String>,
}

/// Whether an answer is of an earlier server: it neither counts what matches nor what it loses.
pub(super) fn is_earlier<T>(answer: &EventsByPid<T>) -> bool {
    answer.total_count.is_none() && answer.lost.is_none()
}

/// The list that a server gives; of an earlier one, by the endpoint that filters, where it has that.
pub(super) async fn ask<T: Listed>(client: &Client, request: &ListRequest) -> Result<Asked<T>, ClientError> {
    let mut answer = list::<T>(client, request).await?;
    if !is_earlier(&answer) {
        return Ok(Asked { answer, note: None });
    }
    if answer.query_time.is_empty() {
        // v0.0.1 does not say.
        answer.query_time = Timestamp::now().to_string();
    }
    let events =
        EventsRequest { event_type: Some(T::TYPE.to_owned()), list: known(request, &answer.query_time) };
    match client.events(&events).await {
        Ok(found) => {
            let returned = found.events.len();
            let is_cut = found.total_count > returned as u64 || returned >= MOST_EVENTS as usize;
            let note = is_cut.then(|| {
                format!("This server gave only the newest {returned} events: older ones may be missing.")
            });
            let listed = found.events.into_iter().filter_map(T::of).collect();
            Ok(Asked {
                answer: EventsByPid { events_by_pid: [(String::new(), listed)].into(), ..answer },
                note,
            })
        }
        // Older still: there is only the list.
        Err(ClientError::Status { .. } | ClientError::Malformed { .. }) => {
            let returned: usize = answer.events_by_pid.values().map(Vec::len).sum();
            let is_far = request.duration_seconds.is_some_and(|seconds| seconds > i64::from(WINDOW));
            let note = (returned >= LIMIT || is_far || answer.truncated).then(|| {
                "This server lists only the newest 100 events of the last hour: older ones are missing."
                    .to_owned()
            });
            let lists = answer.events_by_pid.into_iter();
            let completed = |list: Vec<T>| list.into_iter().map(T::completed).collect();
            let events_by_pid = lists.map(|(pid, list)| (pid, completed(list))).collect();
            Ok(Asked { answer: EventsByPid { events_by_pid, ..answer }, note })
        }
        Err(error) => Err(error),
    }
}

/// The list, with a limit that v0.0.1 takes where it refused a larger one.
async fn list<T: Listed>(client: &Client, request: &ListRequest) -> Result<EventsByPid<T>, ClientError> {
    let refused = match T::list(client, request).await {
        Err(error @ ClientError::Status { code: 400, .. }) => error,
        answer => return answer,
    };
    let smaller = ListRequest { limit: Some(LARGEST_LIMIT), ..request.clone() };
    let is_large = request.limit > smaller.limit;
    let again = if is_large { T::list(client, &smaller).await.ok() } else { None };
    again.filter(is_earlier).ok_or(refused)
}

/// The parts of the destination, where only the whole was said.
pub(super) fn completed(event: ConnectionEvent) -> ConnectionEvent {
    match event.destination.parse::<SocketAddr>() {
        Ok(end) if event.destination_ip.is_empty() => {
            ConnectionEvent { destination_ip: end.ip().to_string(), destination_port: end.port(), ..event }
        }
        _ => event,
    }
}

/// The request in the words that `/api/events` has always known.
fn known(request: &ListRequest, query_time: &str) -> ListRequest {
    let seconds = request.duration_seconds.unwrap_or_else(|| WINDOW.into());
    let begin = || query_time.parse::<Timestamp>().ok()?.checked_sub(SignedDuration::from_secs(seconds)).ok();
    ListRequest {
        pid: request.pid,
        command: request.command.as_deref().map(|name| as_comm(name).to_owned()),
        since: request.since.clone().or_else(|| Some(begin()?.to_string())),
        until: request.until.clone(),
        limit: Some(MOST_EVENTS),
        ..ListRequest::default()
    }
}
