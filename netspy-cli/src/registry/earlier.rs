//! Asking an earlier Go server or its aggregator for a list: they accept the parameters of the list endpoints and
//! ignore them, and give the newest 100 events of the last hour. Only `/api/events` filters there, and only by some.

use jiff::{SignedDuration, Timestamp};
use netspy_api::{Client, ClientError, EventsByPid, EventsRequest, ListRequest};

use super::listing::{Listed, as_comm};
use super::question::MOST_EVENTS;

/// What the list endpoints give at most, and how far back, in seconds.
const LIMIT: usize = 100;
pub(super) const WINDOW: u32 = 3600;

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
    let answer = T::list(client, request).await?;
    if !is_earlier(&answer) {
        return Ok(Asked { answer, note: None });
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
            let note = (returned >= LIMIT || is_far).then(|| {
                "This server lists only the newest 100 events of the last hour: older ones are missing."
                    .to_owned()
            });
            Ok(Asked { answer, note })
        }
        Err(error) => Err(error),
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
