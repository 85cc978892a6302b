//! A list answer made uniform: newest first, filtered, cut to its page, with its true total, whichever server gave it.
//!
//! Our server applies every condition of a question before it counts and cuts. What an earlier Go server ignores of it
//! is filtered here again (see `earlier`).

use std::cmp::{Ordering, Reverse};
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use netspy_api::{
    Client, ClientError, Conditions, ConnectionEvent, DropEvent, Event, EventsByPid, ListRequest,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::cell::Cell;
use super::question::{Cursor, Direction, MOST_EVENTS, Question};
use super::trust::Trust;
use super::{earlier, filter};
use crate::render::{connection, drops, time};

/// What an earlier server is blind for.
pub(super) const BLIND: &str =
    "This server does not know what becomes of connections: none is shown as failed, whatever happened.";
/// Length of a kernel `comm`.
const LONGEST_COMM: usize = 15;
/// Events that may bear the same time as the one at which a page ends.
const TIES: u32 = 100;

/// Events, newest first.
pub(super) struct Listing<T> {
    pub(super) events: Vec<T>,
    /// How many match, shown or not; after a cursor, from there on.
    pub(super) total: u64,
    pub(super) query_time: String,
    pub(super) trust: Trust,
    /// Whether the server is an earlier one, which knows no outcomes.
    pub(super) is_earlier: bool,
    /// Whether the server may have left out older events without saying how many.
    may_lack: bool,
    /// Where the window begins; absent where that cannot be told.
    since: Option<Timestamp>,
}

/// Rows for programs: names of columns once, then values in their order.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Table {
    /// Events that match; with a cursor, from there on.
    total: u64,
    /// Events in `rows`.
    shown: u64,
    /// Whether there are more than shown.
    truncated: bool,
    /// `cursor` of the next page, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    next_cursor: Option<String>,
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
pub(super) struct Facts<'a> {
    id: &'a str,
    pid: u32,
    command: &'a str,
    time: &'a str,
    remote_ip: &'a str,
    remote_port: u16,
    is_inbound: bool,
    failed: bool,
}

/// An event that servers list.
pub(super) trait Listed: Sized {
    /// Its `type`.
    const TYPE: &'static str;
    /// What an earlier server says of it and cannot know.
    const DOUBT: &'static str;
    fn list(
        client: &Client,
        request: &ListRequest,
    ) -> impl Future<Output = Result<EventsByPid<Self>, ClientError>> + Send;
    /// What of a question it can be asked.
    fn conditions(question: &Question) -> Conditions;
    /// The same among events of every type.
    fn of(event: Event) -> Option<Self>;
    /// With everything that follows from what it says: v0.0.1 said less.
    fn completed(self) -> Self {
        self
    }
    fn facts(&self) -> Facts<'_>;
}

impl Listed for ConnectionEvent {
    const TYPE: &'static str = "connection";
    const DOUBT: &'static str =
        "This server guesses protocols from ports: a port of DNS, NTP or DHCP is UDP, any other is TCP.";

    async fn list(client: &Client, request: &ListRequest) -> Result<EventsByPid<Self>, ClientError> {
        client.list_connections(request).await
    }

    fn conditions(question: &Question) -> Conditions {
        filter::of_connections(question)
    }

    fn of(event: Event) -> Option<Self> {
        if let Event::Connection(event) = event { Some(event) } else { None }
    }

    fn completed(self) -> Self {
        earlier::completed(self)
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            id: &self.id,
            pid: self.pid,
            command: &self.command,
            time: &self.time,
            remote_ip: &self.destination_ip,
            remote_port: self.destination_port,
            is_inbound: self.direction == Direction::Inbound.name(),
            failed: connection::is_failure(&self.outcome),
        }
    }
}

impl Listed for DropEvent {
    const TYPE: &'static str = "packet_drop";
    const DOUBT: &'static str =
        "This server gives every drop the same reason and size, and knows none that no process caused.";

    async fn list(client: &Client, request: &ListRequest) -> Result<EventsByPid<Self>, ClientError> {
        client.list_packet_drops(request).await
    }

    fn conditions(question: &Question) -> Conditions {
        filter::of_drops(question)
    }

    fn of(event: Event) -> Option<Self> {
        if let Event::PacketDrop(event) = event { Some(event) } else { None }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            id: &self.id,
            pid: self.pid,
            command: &self.command,
            time: &self.time,
            remote_ip: self.destination_ip.as_deref().unwrap_or_default(),
            remote_port: self.destination_port.unwrap_or_default(),
            is_inbound: false,
            failed: true,
        }
    }
}

/// The question as the list of the server takes it, at most `limit` events.
fn request<T: Listed>(question: &Question, limit: u32) -> ListRequest {
    let limit = match &question.cursor {
        Some(_) => (limit + TIES).min(MOST_EVENTS),
        None => limit,
    };
    let start = question.start();
    ListRequest {
        pid: filter::pid(question),
        command: filter::name(question),
        duration_seconds: question.seconds_back().filter(|_| start.is_none()).map(i64::from),
        since: start.map(|moment| moment.to_string()),
        until: question.cursor.as_ref().map(|cursor| cursor.time.clone()),
        limit: Some(limit),
        conditions: T::conditions(question),
        ..ListRequest::default()
    }
}

impl<T: Listed> Listing<T> {
    /// Asks for at most so many events.
    pub(super) async fn ask(client: &Client, question: &Question, limit: u32) -> Result<Self, ClientError> {
        let asked = earlier::ask(client, &request::<T>(question, limit)).await?;
        let mut listing = Self::read(asked.answer, question, limit);
        listing.may_lack = asked.note.is_some();
        asked.note.into_iter().for_each(|note| listing.trust.note(note));
        if listing.is_earlier && question.failed {
            listing.trust.note(BLIND.to_owned());
        }
        if listing.is_earlier && !listing.events.is_empty() {
            listing.trust.note(T::DOUBT.to_owned());
        }
        Ok(listing)
    }

    /// Reads an answer to `request(question, limit)`.
    pub(super) fn read(answer: EventsByPid<T>, question: &Question, limit: u32) -> Self {
        let is_earlier = earlier::is_earlier(&answer);
        let mut trust = Trust::new(answer.lost);
        answer.sampled.iter().flat_map(drops::sampling).for_each(|note| trust.note(note));
        let mut events: Vec<T> = answer.events_by_pid.into_values().flatten().collect();
        let returned = events.len();
        let hidden = answer.total_count.map_or(0, |total| total.saturating_sub(returned as u64));
        let since = begin(question, &answer.query_time);
        if is_earlier {
            events.retain(|event| {
                let facts = event.facts();
                let is_recent = since.is_none_or(|since| at_least(facts.time, since));
                is_recent && is_about(&facts, question) && fulfils(&facts, question)
            });
        }
        events.sort_by(|a, b| order(&a.facts(), &b.facts()));
        if let Some(cursor) = &question.cursor {
            let end = cursor.time.parse::<Timestamp>().ok();
            events.retain(|event| is_after(&event.facts(), end, &cursor.id));
        }
        let total = events.len() as u64 + hidden;
        events.truncate(limit as usize);
        let query_time = time::utc(&answer.query_time);
        Self { events, total, query_time, trust, is_earlier, may_lack: false, since }
    }

    /// Whether it does not go back to where its window begins, as far as that can be told.
    pub(super) fn is_cut(&self) -> bool {
        self.hidden() > 0 || self.may_lack && self.events.len() >= earlier::LIMIT
    }

    /// How many match and are not shown.
    pub(super) fn hidden(&self) -> u64 {
        self.total - self.events.len() as u64
    }

    /// Leaves out the oldest events so that what is shown takes at most this many bytes.
    pub(super) fn cut(&mut self, bytes: usize, size: impl Fn(&T) -> usize) {
        let mut left = bytes;
        let fitting = self.events.iter().take_while(|event| {
            let size = size(event);
            let fits = size <= left;
            left = left.saturating_sub(size);
            fits
        });
        // One row at least: an answer that never comes on helps nobody.
        let fitting = fitting.count().max(1);
        self.events.truncate(fitting);
    }

    /// Where the next page begins, if there is one.
    pub(super) fn next(&self) -> Option<String> {
        let last = self.events.last().filter(|_| self.hidden() > 0)?.facts();
        let is_whole = last.time.parse::<Timestamp>().is_ok() && !last.id.is_empty();
        let since = self.since.filter(|_| is_whole)?;
        Some(Cursor { time: last.time.to_owned(), id: last.id.to_owned(), since }.encode())
    }

    /// The same for programs.
    pub(super) fn table<const N: usize>(
        self,
        columns: &[&'static str],
        row: impl Fn(&T) -> [Cell; N],
    ) -> Table {
        let (shown, truncated) = (self.events.len() as u64, self.hidden() > 0);
        Table {
            total: self.total,
            shown,
            truncated,
            next_cursor: self.next(),
            query_time: self.query_time,
            columns: columns.to_vec(),
            rows: self
                .events
                .iter()
                .map(|event| row(event).into_iter().take(columns.len()).collect())
                .collect(),
            trust: self.trust,
        }
    }
}

/// The name as the kernel would have cut it.
pub(super) fn as_comm(name: &str) -> &str {
    &name[..name.floor_char_boundary(LONGEST_COMM)]
}

fn is_about(facts: &Facts<'_>, question: &Question) -> bool {
    let name = question.process_name.as_str();
    let is_process = question.pid == 0 || question.pid == facts.pid;
    is_process && (name.is_empty() || [name, as_comm(name)].contains(&facts.command))
}

fn fulfils(facts: &Facts<'_>, question: &Question) -> bool {
    let address = || facts.remote_ip.parse::<IpAddr>().ok();
    let is_there = question.to.is_none_or(|net| address().is_some_and(|ip| net.contains(&ip)));
    is_there
        && (question.port == 0 || question.port == facts.remote_port)
        && (!question.failed || facts.failed)
        && question.direction.is_none_or(|way| (way == Direction::Inbound) == facts.is_inbound)
}

/// Newest first, by the wall clock: the monotonic one begins anew when the machine does. Equal times go by
/// id, largest first as the server has them, which a cursor knows.
fn order(a: &Facts<'_>, b: &Facts<'_>) -> Ordering {
    let key = |facts: &Facts<'_>| Reverse(facts.time.parse::<Timestamp>().ok());
    key(a).cmp(&key(b)).then_with(|| b.id.cmp(a.id))
}

/// Whether an event comes after the one at which the last page ended.
fn is_after(facts: &Facts<'_>, end: Option<Timestamp>, id: &str) -> bool {
    match facts.time.parse::<Timestamp>().ok().cmp(&end) {
        Ordering::Less => true,
        Ordering::Equal => facts.id < id,
        Ordering::Greater => false,
    }
}

/// Where the window of a question begins: as far as it says, and an hour where it does not.
fn begin(question: &Question, query_time: &str) -> Option<Timestamp> {
    let seconds = SignedDuration::from_secs(question.seconds_back().unwrap_or(earlier::WINDOW).into());
    let ago = || query_time.parse::<Timestamp>().ok()?.checked_sub(seconds).ok();
    question.start().or_else(ago)
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

    fn about(pid: u32, name: &str, duration: u32) -> Question {
        Question { pid, process_name: name.to_owned(), duration, ..Question::default() }
    }

    #[test]
    fn the_earlier_server_is_filtered_here() {
        let events = vec![event(1, "curl", 5), event(2, "curl", 9), event(2, "systemd-resolve", 7)];
        let read = |pid, name, duration| {
            let listing = Listing::read(answer(events.clone()), &about(pid, name, duration), 10);
            listing.events.iter().map(|e| e.timestamp).collect::<Vec<_>>()
        };
        assert_eq!(read(0, "", 0), [9, 7, 5]);
        assert_eq!(read(2, "", 0), [9, 7]);
        assert_eq!(read(2, "curl", 0), [9]);
        assert_eq!(read(0, "systemd-resolved", 0), [7]);
        assert_eq!(read(0, "", 53), [9, 7]);
    }

    #[test]
    fn our_server_is_believed() {
        let ours = EventsByPid { total_count: Some(15), ..answer(vec![event(1, "a", 1), event(2, "b", 2)]) };
        let listing = Listing::read(ours, &about(1, "a", 1), 1);
        assert_eq!((listing.events.len(), listing.total, listing.hidden()), (1, 15, 14));
        assert_eq!(listing.events[0].timestamp, 2);
    }

    #[test]
    fn conditions_that_the_earlier_server_does_not_know_are_checked_here() {
        let failed = |ip: &str, port, outcome: &str| ConnectionEvent {
            destination_ip: ip.into(),
            destination_port: port,
            outcome: outcome.into(),
            ..event(1, "curl", 1)
        };
        let events = vec![
            failed("10.1.2.3", 5432, "refused"),
            failed("10.1.2.3", 443, "established"),
            failed("", 0, ""),
        ];
        let read = |question: &Question| Listing::read(answer(events.clone()), question, 10).total;
        assert_eq!(read(&Question { to: "10.0.0.0/8".parse().ok(), ..Question::default() }), 2);
        assert_eq!(read(&Question { port: 443, ..Question::default() }), 1);
        assert_eq!(read(&Question { failed: true, ..Question::default() }), 1);
        let inbound = Question { direction: Some(Direction::Inbound), ..Question::default() };
        assert_eq!(read(&inbound), 0, "it knows outbound ones only");
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_repetition() {
        // Ten events, three of them at the very same time.
        let all: Vec<_> = (0..10)
            .map(|n| ConnectionEvent {
                id: format!("{n:02}"),
                ..event(1, "curl", if (3..6).contains(&n) { 3 } else { n })
            })
            .collect();
        let (mut seen, mut question, mut pages) = (Vec::new(), Question::default(), 0);
        loop {
            let asked = request::<ConnectionEvent>(&question, 2);
            let until: Option<Timestamp> = asked.until.map(|until| until.parse().unwrap());
            let matching: Vec<_> = all
                .iter()
                .filter(|e| until.is_none_or(|u| e.time.parse::<Timestamp>().unwrap() <= u))
                .cloned()
                .collect();
            let total_count = Some(matching.len() as u64);
            // The server's order, and its limit.
            let mut matching = matching;
            matching.sort_by(|a, b| (&b.time, &b.id).cmp(&(&a.time, &a.id)));
            matching.truncate(asked.limit.unwrap() as usize);
            let mut listing = Listing::read(EventsByPid { total_count, ..answer(matching) }, &question, 2);
            assert_eq!(listing.total as usize, 10 - seen.len());
            if pages == 1 {
                listing.cut(1, |_| 1);
                assert_eq!(listing.events.len(), 1);
            }
            let next = listing.next();
            seen.extend(listing.events.into_iter().map(|event| event.id));
            pages += 1;
            let Some(cursor) = next else { break };
            let arguments = [("cursor".to_owned(), cursor.into())].into_iter().collect();
            question = Question::read(crate::registry::find("list_connections").unwrap(), arguments).unwrap();
        }
        assert_eq!(seen, ["09", "08", "07", "06", "05", "04", "03", "02", "01", "00"]);
        assert_eq!(pages, 6);
    }

    #[test]
    fn a_name_is_cut_between_characters() {
        assert_eq!(as_comm("systemd-resolved"), "systemd-resolve");
        assert_eq!(as_comm("ääääääää"), "äääääää");
        assert_eq!(as_comm("sh"), "sh");
    }
}
