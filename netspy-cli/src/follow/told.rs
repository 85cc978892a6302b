//! What of each connection was told, so that it is told when there is something to say, and only then. Pure: time comes
//! in as an argument.
//!
//! A connection is told when its outcome is known, or when it has stayed open for a while, and then once more with its
//! outcome. What the stream brings later (its end, its bytes) is not told.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use netspy_api::ConnectionEvent;
use tokio::time::Instant;

use crate::render::connection;

/// How long an outcome is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Connections that are remembered.
const MOST: usize = 100_000;

pub(super) struct Told {
    /// Nothing of before is told.
    begin: Timestamp,
    /// Whether the outcome was told.
    known: HashMap<String, bool>,
    /// The same, oldest first, with when they happened.
    order: VecDeque<(String, Timestamp)>,
    /// Open ones, and since when they are waited for.
    waiting: BTreeMap<String, (Instant, ConnectionEvent)>,
}

impl Told {
    pub(super) fn since(begin: Timestamp) -> Self {
        Self { begin, known: HashMap::new(), order: VecDeque::new(), waiting: BTreeMap::new() }
    }

    /// Hears of a connection; gives it back if it is to be told now.
    pub(super) fn hear(&mut self, event: ConnectionEvent, now: Instant) -> Option<ConnectionEvent> {
        let at = happened(&event);
        if at.is_some_and(|at| at < self.begin) {
            return None;
        }
        let told = self.known.get(&event.id).copied();
        match (connection::is_open(&event.outcome), told) {
            (_, Some(true)) | (true, Some(false)) => None,
            (true, None) => {
                let since = self.waiting.get(&event.id).map_or(now, |(since, _)| *since);
                self.waiting.insert(event.id.clone(), (since, event));
                None
            }
            (false, _) => {
                self.waiting.remove(&event.id);
                self.remember(&event, true);
                Some(event)
            }
        }
    }

    /// Those that have been open for so long that this is told.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<ConnectionEvent> {
        let is_due = |since: &Instant| now.duration_since(*since) >= PATIENCE;
        let due = self.waiting.extract_if(.., |_, (since, _)| is_due(since));
        let mut due: Vec<_> = due.map(|(_, (_, event))| event).collect();
        due.sort_by(|a, b| a.time.cmp(&b.time));
        for event in &due {
            self.remember(event, false);
        }
        due
    }

    fn remember(&mut self, event: &ConnectionEvent, is_outcome: bool) {
        if self.known.insert(event.id.clone(), is_outcome).is_none() {
            self.order.push_back((event.id.clone(), happened(event).unwrap_or(self.begin)));
        }
        // What is forgotten is of before from then on.
        while self.order.len() > MOST {
            let Some((id, at)) = self.order.pop_front() else { return };
            self.known.remove(&id);
            self.begin = self.begin.max(at.checked_add(SignedDuration::from_nanos(1)).unwrap_or(at));
        }
    }
}

/// When what is told happened: the outcome, or the attempt where there is none yet.
fn happened(event: &ConnectionEvent) -> Option<Timestamp> {
    let latency = event.latency_us.and_then(|us| i64::try_from(us).ok()).unwrap_or_default();
    event.time.parse::<Timestamp>().ok()?.checked_add(SignedDuration::from_micros(latency)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, second: u32, outcome: &str) -> ConnectionEvent {
        let time = format!("2026-11-21T10:00:{second:02}.5Z");
        ConnectionEvent { id: id.into(), time, outcome: outcome.into(), ..ConnectionEvent::default() }
    }

    #[test]
    fn everything_is_told_with_its_outcome_and_once() {
        let mut told = Told::since("2026-11-21T10:00:10Z".parse().unwrap());
        let now = Instant::now();
        let mut hear = |event| told.hear(event, now).map(|event| event.outcome);
        assert_eq!(hear(event("old", 9, "established")), None, "it was before");
        let late = ConnectionEvent { latency_us: Some(2_000_000), ..event("late", 9, "timed_out") };
        assert_eq!(hear(late).as_deref(), Some("timed_out"), "it failed just now");
        assert_eq!(hear(event("a", 11, "refused")).as_deref(), Some("refused"));
        assert_eq!(hear(event("b", 11, "pending")), None);
        assert_eq!(hear(event("b", 11, "established")).as_deref(), Some("established"));
        assert_eq!(hear(event("b", 11, "established")), None, "only its end");
        assert!(told.overdue(now + PATIENCE).is_empty());
    }

    #[test]
    fn what_stays_open_is_told_and_its_outcome_too() {
        let mut told = Told::since("2026-11-21T10:00:10Z".parse().unwrap());
        let now = Instant::now();
        assert_eq!(told.hear(event("b", 12, "pending"), now), None);
        assert_eq!(told.hear(event("a", 11, "unanswered"), now), None);
        assert!(told.overdue(now + PATIENCE / 2).is_empty());
        assert_eq!(told.hear(event("b", 12, "pending"), now + PATIENCE / 2), None);
        let due = told.overdue(now + PATIENCE);
        assert_eq!(due.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(told.hear(event("b", 12, "pending"), now + PATIENCE), None);
        assert!(told.overdue(now + PATIENCE * 3).is_empty());
        assert!(told.hear(event("b", 12, "timed_out"), now).is_some());
        assert_eq!(told.hear(event("b", 12, "timed_out"), now), None);
    }

    #[test]
    fn what_was_forgotten_is_not_told_again() {
        let mut told = Told::since("2026-11-21T10:00:10Z".parse().unwrap());
        let now = Instant::now();
        assert!(told.hear(event("first", 11, "refused"), now).is_some());
        for n in 0..MOST {
            assert!(told.hear(event(&n.to_string(), 12, "refused"), now).is_some());
        }
        assert_eq!(told.known.len(), MOST);
        assert!(told.hear(event("first", 11, "refused"), now).is_none());
    }
}
