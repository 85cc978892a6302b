//! `/api/stream`: events as they are recorded, as server-sent events (WHATWG HTML, "Server-sent events").
//!
//! A follower first gets what it asked for of the past, then each batch as soon as it is in the history. It is never
//! waited for: one that is slower than the rest gets an event `lagged` that says how much it missed, and from where
//! it can ask again. The id of an event is the moment up to which everything was sent, in ns since 1970; what is sent
//! again after a break may have been sent before, but nothing is left out.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use jiff::tz::TimeZone;
use netspy_api::{Event, Lagged};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::{Sender, channel};
use tokio_stream::wrappers::ReceiverStream;

use super::error::Failure;
use super::params::Params;
use super::query::{Kind, StreamQuery};
use super::{Shared, render};
use crate::domain::{Batch, Filter, History, HistoryError, Window};
use crate::feed::{Position, Recorded};

/// Followers at once.
const MOST_FOLLOWERS: usize = 64;
/// Events of the past, of each kind, that are sent before those of the present.
const MOST_PAST: u32 = 10_000;
/// Events that wait for the connection to take them.
const WAITING: usize = 16;
/// How much earlier than the last event a resumed stream begins again: a record may come so much later than its time.
const OVERLAP_NS: i64 = 1_000_000_000;
/// A sign of life for whatever is between here and the client, where there are no events.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// Nobody listens any more.
struct Gone;

pub(super) async fn follow(
    State(api): Shared,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Failure> {
    let now_ns = api.clock.now_ns();
    let query = StreamQuery::parse(&params, headers.get("last-event-id"), now_ns)?;
    // From before the history is read: nothing falls between.
    let batches = api.feed.follow(MOST_FOLLOWERS).ok_or_else(|| {
        let message = format!(
            "there are {MOST_FOLLOWERS} followers already, or the server is stopping; try again later"
        );
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, message)
    })?;
    let (asked, feed) = (query.clone(), api.feed.clone());
    let past = api.ask(move |history, zone| Past::read(history, zone, &asked, feed.end())).await?;
    let ends_in =
        query.until_ns.map(|until_ns| Duration::from_nanos(until_ns.saturating_sub(now_ns).max(0) as u64));
    let (sender, events) = channel(WAITING);
    let stream = Stream { sender, query, zone: TimeZone::system(), at_ns: now_ns, end: past.end };
    tokio::spawn(async move {
        let ended = async {
            match ends_in {
                Some(ends_in) => tokio::time::sleep(ends_in).await,
                None => std::future::pending().await,
            }
        };
        let _ = stream.run(past, batches, ended).await; // who has gone needs no farewell
    });
    Ok(Sse::new(ReceiverStream::new(events))
        .keep_alive(KeepAlive::new().interval(ALIVE_EVERY))
        .into_response())
}

/// What a stream begins with.
struct Past {
    /// Oldest first.
    events: Vec<Event>,
    /// Older ones that were too many.
    missed: u64,
    /// Batches up to here are in it.
    end: Position,
}

impl Past {
    fn read(
        history: &dyn History,
        zone: &TimeZone,
        query: &StreamQuery,
        end: Position,
    ) -> Result<Self, HistoryError> {
        let mut past = Self { events: Vec::new(), missed: 0, end };
        let Some((filter, changed_since_ns)) = query.past() else { return Ok(past) };
        let mut found = Vec::new();
        let mut add = |total: u64, events: Vec<(i64, Event)>| {
            past.missed += total.saturating_sub(events.len() as u64);
            found.extend(events.into_iter().rev());
        };
        for kind in Kind::all().filter(|kind| query.wants(*kind)) {
            match kind {
                Kind::Connection => {
                    let mut filter = filter.clone();
                    if changed_since_ns.is_some() {
                        (filter.window.since_ns, filter.changed_since_ns) = (i64::MIN, changed_since_ns);
                    }
                    let page = history.connections(&filter, MOST_PAST)?;
                    add(
                        page.total,
                        page.rows.iter().map(|row| (row.wall_ns, render::connection(row, zone))).collect(),
                    );
                }
                Kind::Drop => {
                    let page = history.drops(&filter, MOST_PAST)?;
                    add(
                        page.total,
                        page.rows.iter().map(|row| (row.wall_ns, render::packet_drop(row, zone))).collect(),
                    );
                }
                Kind::Trouble(trouble) => {
                    let page = history.troubles(trouble, &filter, MOST_PAST)?;
                    add(
                        page.total,
                        page.rows.iter().map(|row| (row.wall_ns, render::trouble(row, zone))).collect(),
                    );
                }
            }
        }
        found.sort_by_key(|(wall_ns, _)| *wall_ns);
        past.events = found.into_iter().map(|(_, event)| event).collect();
        Ok(past)
    }
}

/// One follower.
struct Stream {
    sender: Sender<Result<sse::Event, axum::Error>>,
    query: StreamQuery,
    zone: TimeZone,
    /// Everything up to here was sent: wall time in ns.
    at_ns: i64,
    /// Behind the last batch that was looked at.
    end: Position,
}

impl Stream {
    async fn run(
        mut self,
        past: Past,
        mut batches: Receiver<Arc<Recorded>>,
        ended: impl Future<Output = ()>,
    ) -> Result<(), Gone> {
        if past.missed > 0 {
            self.lagged(past.missed, None).await?;
        }
        for event in past.events {
            self.send(&event).await?;
        }
        // An id without data: from here on it can be resumed, although nothing has happened yet.
        self.push(sse::Event::default().id(self.at_ns.to_string()).comment("up to now")).await?;
        tokio::pin!(ended);
        loop {
            let next = tokio::select! {
                next = batches.recv() => next,
                () = &mut ended => return Ok(()),
                () = self.sender.closed() => return Err(Gone),
            };
            match next {
                Ok(recorded) if recorded.at.batches < self.end.batches => {}
                Ok(recorded) => self.tell(&recorded).await?,
                Err(RecvError::Lagged(_)) => {} // the next batch says how much
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }

    async fn tell(&mut self, recorded: &Recorded) -> Result<(), Gone> {
        let missed = recorded.at.rows.saturating_sub(self.end.rows);
        if missed > 0 {
            self.lagged(missed, Some(self.at_ns)).await?;
        }
        let batch = &recorded.batch;
        self.end =
            Position { batches: recorded.at.batches + 1, rows: recorded.at.rows + batch.rows() as u64 };
        let events = self.query.events(batch, &self.zone);
        let is_quiet = events.is_empty();
        for event in &events {
            self.send(event).await?;
        }
        self.at_ns = batch.until_ns.unwrap_or(self.at_ns);
        if is_quiet { Ok(()) } else { self.push(sse::Event::default().id(self.at_ns.to_string())).await }
    }

    async fn send(&self, event: &Event) -> Result<(), Gone> {
        match sse::Event::default().event(event.name()).json_data(event) {
            Ok(event) => self.push(event).await,
            Err(error) => self.sender.send(Err(error)).await.map_err(|_| Gone),
        }
    }

    async fn lagged(&self, missed: u64, since_ns: Option<i64>) -> Result<(), Gone> {
        let message = match since_ns {
            Some(_) => {
                "events came faster than they were read; ask again with last_event_id as Last-Event-ID for them"
            }
            None => "the past holds more than is sent at once; ask /api/events for the older ones",
        };
        let lagged = Lagged {
            missed,
            last_event_id: since_ns.map(|at_ns| at_ns.to_string()),
            message: message.to_owned(),
        };
        match sse::Event::default().event("lagged").json_data(lagged) {
            Ok(event) => self.push(event).await,
            Err(error) => self.sender.send(Err(error)).await.map_err(|_| Gone),
        }
    }

    async fn push(&self, event: sse::Event) -> Result<(), Gone> {
        self.sender.send(Ok(event)).await.map_err(|_| Gone)
    }
}

impl StreamQuery {
    /// What a batch holds of what was asked for, oldest first.
    fn events(&self, batch: &Batch, zone: &TimeZone) -> Vec<Event> {
        let mut found = Vec::new();
        if self.wants(Kind::Connection) {
            let wanted = batch.connections.iter().filter(|row| self.filter.matches_connection(row));
            found.extend(wanted.map(|row| (row.wall_ns, render::connection(row, zone))));
        }
        if self.wants(Kind::Drop) {
            let wanted = batch.drops.iter().filter(|row| self.filter.matches_drop(row));
            found.extend(wanted.map(|row| (row.wall_ns, render::packet_drop(row, zone))));
        }
        let troubles = batch.troubles.iter().filter(|row| self.wants(Kind::Trouble(row.kind)));
        let wanted = troubles.filter(|row| self.filter.matches_trouble(row));
        found.extend(wanted.map(|row| (row.wall_ns, render::trouble(row, zone))));
        found.sort_by_key(|(wall_ns, _)| *wall_ns);
        found.into_iter().map(|(_, event)| event).collect()
    }

    /// What of the past to begin with, and since when connections must have changed.
    fn past(&self) -> Option<(Filter, Option<i64>)> {
        let since_ns = match (self.resume_ns, self.since_ns) {
            (Some(resume_ns), _) => resume_ns.saturating_sub(OVERLAP_NS),
            (None, Some(since_ns)) => since_ns,
            (None, None) => return None,
        };
        let window = Window { since_ns, ..self.filter.window };
        Some((Filter { window, ..self.filter.clone() }, self.resume_ns.map(|_| since_ns)))
    }
}
