//! A list answer made uniform: newest first, filtered, with its true total, whichever server gave it.
//!
//! The earlier Go server accepts the parameters of a list and ignores them: it answers with the newest 100
//! events of the last hour. There the filtering is done here, and said where it may hide something.

use jiff::{SignedDuration, Timestamp};
use netspy_api::{ConnectionEvent, DropEvent, EventsByPid};
use schemars::JsonSchema;
use serde::Serialize;

use super::cell::Cell;
use super::trust::Trust;
use crate::render::Subject;

/// The earlier server lists no more than this many events, and none older than this many seconds.
const EARLIER_LIMIT: usize = 100;
const EARLIER_WINDOW: u32 = 3600;
const EARLIER_NOTE: &str =
    "This server lists only the newest 100 events of the last hour: older ones are missing.";
/// Length of a kernel `comm`.
const LONGEST_COMM: usize = 15;

/// Events, newest first.
pub(super) struct Listing<T> {
    pub(super) events: Vec<T>,
    /// How many match, shown or not.
    pub(super) total: u64,
    pub(super) query_time: String,
    pub(super) trust: Trust,
}

/// Rows for programs: names of columns once, then values in their order.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Table {
    /// Events that match.
    total: u64,
    /// Events in `rows`.
    shown: u64,
    /// Whether there are more than shown.
    truncated: bool,
    /// When the window ends, RFC 3339.
    query_time: String,
    /// Names of the values of a row.
    columns: Vec<&'static str>,
    /// One per event, newest first.
    rows: Vec<Vec<Cell>>,
    #[serde(flatten)]
    trust: Trust,
}

/// What filtering and ordering need of an event.
pub(super) trait Listed {
    fn pid(&self) -> u32;
    fn command(&self) -> &str;
    fn timestamp(&self) -> u64;
    fn time(&self) -> &str;
}

impl Listed for ConnectionEvent {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn command(&self) -> &str {
        &self.command
    }

    fn timestamp(&self) -> u64 {
        self.timestamp
    }

    fn time(&self) -> &str {
        &self.time
    }
}

impl Listed for DropEvent {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn command(&self) -> &str {
        &self.command
    }

    fn timestamp(&self) -> u64 {
        self.timestamp
    }

    fn time(&self) -> &str {
        &self.time
    }
}

impl<T: Listed> Listing<T> {
    /// Reads an answer to a question about `subject`, the last `duration` seconds, at most `limit` events.
    pub(super) fn read(
        answer: EventsByPid<T>,
        subject: &Subject<'_>,
        duration: Option<u32>,
        limit: u32,
    ) -> Self {
        let is_earlier = answer.total_count.is_none() && answer.lost.is_none();
        let mut trust = Trust::new(answer.lost);
        let mut events: Vec<T> = answer.events_by_pid.into_values().flatten().collect();
        if is_earlier {
            if events.len() >= EARLIER_LIMIT || duration.is_some_and(|seconds| seconds > EARLIER_WINDOW) {
                trust.note(EARLIER_NOTE.to_owned());
            }
            let window = duration.and_then(|seconds| since(&answer.query_time, seconds));
            events.retain(|event| {
                matches(event, subject) && window.is_none_or(|since| at_least(event.time(), since))
            });
        }
        events.sort_by_key(|event| std::cmp::Reverse(event.timestamp()));
        let total = answer.total_count.unwrap_or_default().max(events.len() as u64);
        events.truncate(limit as usize);
        Self { events, total, query_time: answer.query_time, trust }
    }

    /// How many match and are not shown.
    pub(super) fn hidden(&self) -> u64 {
        self.total - self.events.len() as u64
    }

    /// The same for programs.
    pub(super) fn table<const N: usize>(
        self,
        columns: [&'static str; N],
        row: impl Fn(&T) -> [Cell; N],
    ) -> Table {
        let (shown, truncated) = (self.events.len() as u64, self.hidden() > 0);
        Table {
            total: self.total,
            shown,
            truncated,
            query_time: self.query_time,
            columns: columns.to_vec(),
            rows: self.events.iter().map(|event| row(event).into()).collect(),
            trust: self.trust,
        }
    }
}

/// The name as the kernel would have cut it.
pub(super) fn as_comm(name: &str) -> &str {
    &name[..name.floor_char_boundary(LONGEST_COMM)]
}

fn matches(event: &impl Listed, subject: &Subject<'_>) -> bool {
    let is_process = subject.pid == 0 || subject.pid == event.pid();
    let is_name = [subject.name, as_comm(subject.name)].contains(&event.command());
    is_process && (subject.name.is_empty() || is_name)
}

fn since(query_time: &str, seconds: u32) -> Option<Timestamp> {
    query_time.parse::<Timestamp>().ok()?.checked_sub(SignedDuration::from_secs(seconds.into())).ok()
}

/// An event whose time cannot be read is kept: to show too much is the smaller mistake.
fn at_least(time: &str, since: Timestamp) -> bool {
    time.parse::<Timestamp>().map_or(true, |time| time >= since)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(pid: u32, command: &str, timestamp: u64) -> ConnectionEvent {
        let time = format!("2026-11-21T00:00:{:02}Z", timestamp % 60);
        ConnectionEvent { pid, command: command.into(), timestamp, time, ..ConnectionEvent::default() }
    }

    fn answer(events: Vec<ConnectionEvent>) -> EventsByPid<ConnectionEvent> {
        let query_time = "2026-11-21T00:01:00Z".into();
        EventsByPid { events_by_pid: [("1".into(), events)].into(), query_time, ..EventsByPid::default() }
    }

    #[test]
    fn the_earlier_server_is_filtered_here() {
        let events = vec![event(1, "curl", 5), event(2, "curl", 9), event(2, "systemd-resolve", 7)];
        let read = |pid, name, duration| {
            let listing = Listing::read(answer(events.clone()), &Subject { pid, name }, duration, 10);
            listing.events.iter().map(|e| e.timestamp).collect::<Vec<_>>()
        };
        assert_eq!(read(0, "", None), [9, 7, 5]);
        assert_eq!(read(2, "", None), [9, 7]);
        assert_eq!(read(2, "curl", None), [9]);
        assert_eq!(read(0, "systemd-resolved", None), [7]);
        assert_eq!(read(0, "", Some(53)), [9, 7]);
    }

    #[test]
    fn our_server_is_believed() {
        let ours = EventsByPid { total_count: Some(15), ..answer(vec![event(1, "a", 1), event(2, "b", 2)]) };
        let listing = Listing::read(ours, &Subject { pid: 1, name: "a" }, Some(1), 1);
        assert_eq!((listing.events.len(), listing.total, listing.hidden()), (1, 15, 14));
        assert_eq!(listing.events[0].timestamp, 2);
    }

    #[test]
    fn a_full_list_of_the_earlier_server_says_so() {
        let many = (0..100).map(|n| event(1, "curl", n)).collect();
        let listing = Listing::read(answer(many), &Subject { pid: 2, name: "" }, None, 10);
        assert_eq!(listing.trust.lines(""), [format!("  ! {EARLIER_NOTE}")]);
    }

    #[test]
    fn a_name_is_cut_between_characters() {
        assert_eq!(as_comm("systemd-resolved"), "systemd-resolve");
        assert_eq!(as_comm("ääääääää"), "äääääää");
        assert_eq!(as_comm("sh"), "sh");
    }
}
