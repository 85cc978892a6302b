//! Connections as they happen: asks the server again and again, and passes every connection on once.
//!
//! A connection is passed on when its outcome is known, or when it has stayed open for a while.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use netspy_api::{Client, ClientError, ConnectionEvent};

use super::listing::{Listing, request};
use super::question::{MOST_EVENTS, Question, Since};
use crate::render::connection;

/// How long an outcome is waited for.
const PATIENCE: SignedDuration = SignedDuration::from_secs(3);

/// A place in the stream of connections.
pub(crate) struct Stream {
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
    /// Events that the stretch of time that was asked for is missing, or that one answer cannot hold.
    pub(crate) lost: u64,
}

impl Stream {
    /// Begins at the server's now: its clock counts, not ours.
    pub(crate) async fn begin(client: &Client, question: &Question) -> Result<Self, ClientError> {
        let one = Question { duration: 1, ..question.clone() };
        let answer = client.list_connections(&request(&one, 1)).await?;
        let since = answer.query_time.parse().unwrap_or_else(|_| Timestamp::now());
        Ok(Self { question: question.clone(), passed: BTreeMap::new(), since })
    }

    /// Where it stands.
    pub(crate) fn since(&self) -> Timestamp {
        self.since
    }

    /// What came since the last time.
    pub(crate) async fn next(&mut self, client: &Client) -> Result<Batch, ClientError> {
        // Whether it failed is asked here, of outcomes that are known: what is pending may yet fail.
        let since = Some(Since::Moment(self.since));
        let question = Question { since, failed: false, ..self.question.clone() };
        Ok(self.take(Listing::ask(client, &question, MOST_EVENTS).await?))
    }

    fn take(&mut self, listing: Listing<ConnectionEvent>) -> Batch {
        let newest = listing.events.iter().filter_map(|event| event.time.parse::<Timestamp>().ok()).max();
        let lost = listing.trust.lost() + listing.hidden();
        let query_time = listing.query_time;
        let now = newest.into_iter().chain(query_time.parse()).max().unwrap_or(self.since);
        let mut open = None;
        let mut events = Vec::new();
        for event in listing.events.into_iter().rev() {
            let Ok(time) = event.time.parse::<Timestamp>() else { continue };
            if time < self.since || self.passed.contains_key(&event.id) {
                continue;
            }
            if event.outcome == "pending" && now.duration_since(time) < PATIENCE {
                open = open.or(Some(time));
                continue;
            }
            self.passed.insert(event.id.clone(), time);
            if !self.question.failed || connection::is_failure(&event.outcome) {
                events.push(event);
            }
        }
        // A moment of overlap: what was recorded late has an early time.
        let settled = now.checked_sub(SignedDuration::from_secs(1)).unwrap_or(now);
        self.since = open.map_or(settled, |open| open.min(settled)).max(self.since);
        let since = self.since;
        self.passed.retain(|_, time| *time >= since);
        Batch { events, query_time, lost }
    }
}

#[cfg(test)]
mod tests {
    use netspy_api::EventsByPid;

    use super::*;

    fn event(id: &str, second: u32, outcome: &str) -> ConnectionEvent {
        let time = format!("2026-11-21T10:00:{second:02}.5Z");
        ConnectionEvent { id: id.into(), time, outcome: outcome.into(), ..ConnectionEvent::default() }
    }

    fn answer(now: u32, events: Vec<ConnectionEvent>) -> Listing<ConnectionEvent> {
        let total_count = Some(events.len() as u64);
        let query_time = format!("2026-11-21T10:00:{now:02}Z");
        let answer = EventsByPid {
            events_by_pid: [("1".into(), events)].into(),
            total_count,
            query_time,
            ..EventsByPid::default()
        };
        Listing::read(answer, &Question::default(), MOST_EVENTS)
    }

    #[test]
    fn everything_is_passed_on_once_and_with_its_outcome() {
        let since = "2026-11-21T10:00:00Z".parse().unwrap();
        let mut stream = Stream { question: Question::default(), passed: BTreeMap::new(), since };
        let mut take = |now, events| {
            let batch = stream.take(answer(now, events));
            batch.events.into_iter().map(|e| format!("{} {}", e.id, e.outcome)).collect::<Vec<_>>()
        };
        let (a, b) = (event("a", 1, "refused"), event("b", 2, "pending"));
        assert_eq!(take(2, vec![b.clone(), a.clone()]), ["a refused"]);
        assert_eq!(take(3, vec![b, a]), [""; 0]);
        assert_eq!(take(3, vec![event("b", 2, "established")]), ["b established"]);
        assert_eq!(take(4, vec![event("c", 4, "pending")]), [""; 0]);
        assert_eq!(take(9, vec![event("c", 4, "pending")]), ["c pending"], "patience ends");
    }
}
