//! Connections as they happen, of a server that has no stream of them: asks again and again, and passes every
//! connection on once.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use netspy_api::{Client, ClientError, ConnectionEvent, ListRequest};

use super::listing::Listing;
use super::question::{MOST_EVENTS, Question, Since};

/// A place in the stream of connections.
pub(crate) struct Polled {
    question: Question,
    /// What was passed on, with its time: what is asked for again overlaps.
    passed: BTreeMap<String, Timestamp>,
    /// From where on is asked.
    since: Timestamp,
}

/// What came.
pub(crate) struct Batch {
    /// Oldest first.
    pub(crate) events: Vec<ConnectionEvent>,
    /// When the server answered, RFC 3339.
    pub(crate) query_time: String,
    /// Whether there were more than the server gave.
    pub(crate) is_cut: bool,
}

/// The server's now, to the second: its clock counts, not ours.
pub(crate) async fn now(client: &Client) -> Result<Timestamp, ClientError> {
    let least = ListRequest { duration_seconds: Some(1), limit: Some(1), ..ListRequest::default() };
    let answer = client.list_connections(&least).await?;
    Ok(answer.query_time.parse().unwrap_or_else(|_| Timestamp::now()))
}

impl Polled {
    pub(crate) fn new(question: &Question, since: Timestamp) -> Self {
        Self { question: question.clone(), passed: BTreeMap::new(), since }
    }

    /// What came since the last time.
    pub(crate) async fn next(&mut self, client: &Client) -> Result<Batch, ClientError> {
        let question = Question { since: Some(Since::Moment(self.since)), ..self.question.clone() };
        Ok(self.take(Listing::ask(client, &question, MOST_EVENTS).await?))
    }

    fn take(&mut self, listing: Listing<ConnectionEvent>) -> Batch {
        let newest = listing.events.iter().filter_map(|event| event.time.parse::<Timestamp>().ok()).max();
        let is_cut = listing.is_cut();
        let query_time = listing.query_time;
        let now = newest.into_iter().chain(query_time.parse()).max().unwrap_or(self.since);
        let mut events = Vec::new();
        for event in listing.events.into_iter().rev() {
            let Ok(time) = event.time.parse::<Timestamp>() else { continue };
            if time >= self.since && self.passed.insert(name(&event), time).is_none() {
                events.push(event);
            }
        }
        // A moment of overlap: what was recorded late has an early time.
        let settled = now.checked_sub(SignedDuration::from_secs(1)).unwrap_or(now);
        self.since = settled.max(self.since);
        let since = self.since;
        self.passed.retain(|_, time| *time >= since);
        Batch { events, query_time, is_cut }
    }
}

/// What tells it from others: v0.0.1 gives no ids.
fn name(event: &ConnectionEvent) -> String {
    if event.id.is_empty() {
        format!("{} {} {}", event.time, event.pid, event.destination)
    } else {
        event.id.clone()
    }
}

#[cfg(test)]
mod tests {
    use netspy_api::EventsByPid;

    use super::*;

    fn event(id: &str, second: u32) -> ConnectionEvent {
        let time = format!("2026-11-21T10:00:{second:02}.5Z");
        ConnectionEvent { id: id.into(), time, ..ConnectionEvent::default() }
    }

    #[test]
    fn everything_is_passed_on_once() {
        let mut polled = Polled::new(&Question::default(), "2026-11-21T10:00:00Z".parse().unwrap());
        let mut take = |now: u32, events: Vec<ConnectionEvent>| {
            let query_time = format!("2026-11-21T10:00:{now:02}Z");
            let answer = EventsByPid {
                events_by_pid: [("1".into(), events)].into(),
                query_time,
                ..Default::default()
            };
            let batch = polled.take(Listing::read(answer, &Question::default(), MOST_EVENTS));
            batch.events.into_iter().map(|event| event.id).collect::<Vec<_>>()
        };
        let (a, b, nameless) = (event("a", 1), event("b", 2), event("", 2));
        assert_eq!(take(2, vec![b.clone(), a.clone()]), ["a", "b"]);
        assert_eq!(take(3, vec![nameless.clone(), b, a]), [""]);
        assert_eq!(take(3, vec![event("c", 3), nameless]), ["c"]);
        assert_eq!(take(9, vec![event("d", 4)]), ["d"]);
    }
}
