//! `list_connections`: the newest connections, one row each.

use netspy_api::{Client, ConnectionEvent, ListRequest};

use super::arguments::ListArguments;
use super::cell::Cell;
use super::listing::Listing;
use super::{Outcome, answer as written};
use crate::render::{Subject, connection, loss};

pub(super) async fn answer(client: &Client, arguments: ListArguments) -> Outcome {
    let subject = arguments.subject();
    let answer = client.list_connections(&request(&subject, None, arguments.max_events)).await?;
    let mut listing = Listing::read(answer, &subject, None, arguments.max_events);
    if listing.total == 0 {
        listing.trust.check_traced(client, "connection", "connections").await;
    }
    let lines = lines(&listing, &subject);
    Ok(written(&lines, &listing.table(COLUMNS, row)))
}

/// The question as both lists of the server take it.
pub(super) fn request(subject: &Subject<'_>, duration: Option<u32>, limit: u32) -> ListRequest {
    ListRequest {
        pid: (subject.pid != 0).then_some(subject.pid),
        command: (!subject.name.is_empty()).then(|| subject.name.to_owned()),
        duration_seconds: duration.map(i64::from),
        limit: Some(limit),
        ..ListRequest::default()
    }
}

fn lines(listing: &Listing<ConnectionEvent>, subject: &Subject<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if listing.total == 0 {
        lines.push(format!("No connection events found{} in the last hour", subject.suffix()));
    } else {
        lines.push(format!("Recent connection events ({} total):", listing.total));
        lines.extend(
            listing.events.iter().map(|event| format!("  {}", connection::row(event, &listing.query_time))),
        );
    }
    if listing.hidden() > 0 {
        lines.push(format!("  ... and {} more events", listing.hidden()));
    }
    lines.extend(listing.trust.lines(loss::LIST));
    lines
}

const COLUMNS: [&str; 10] = [
    "time",
    "destination",
    "protocol",
    "process_name",
    "pid",
    "source",
    "outcome",
    "errno_name",
    "stage",
    "latency_us",
];

fn row(event: &ConnectionEvent) -> [Cell; 10] {
    [
        Cell::text(&event.time),
        Cell::text(&connection::destination(event)),
        Cell::text(connection::protocol(&event.protocol)),
        Cell::text(&event.command),
        Cell::number(event.pid),
        Cell::from(&event.source),
        Cell::text(&event.outcome),
        Cell::from(&event.errno_name),
        Cell::from(&event.stage),
        Cell::from(event.latency_us),
    ]
}
