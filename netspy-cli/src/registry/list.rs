//! `list_connections`: the newest connections, one row each.

use netspy_api::ConnectionEvent;

use super::cell::Cell;
use super::listing::{Listing, request};
use super::question::{DEFAULT_EVENTS, Question};
use super::{Answer, Context, Outcome, answer as written};
use crate::render::{connection, loss};

pub(super) async fn answer(context: &Context<'_>, question: Question) -> Outcome {
    let limit = most_events(&question);
    let answer = context.client.list_connections(&request(&question, limit)).await?;
    let mut listing = Listing::read(answer, &question, limit);
    if listing.total == 0 {
        listing.trust.check_empty(context.client, "connection", "connections", &question).await;
    }
    Ok(shown(context, listing, &question, "Recent connection events", "No connection events found"))
}

/// A list of connections, as long as the front allows.
pub(super) fn shown(
    context: &Context<'_>,
    mut listing: Listing<ConnectionEvent>,
    question: &Question,
    found: &str,
    nothing: &str,
) -> Answer {
    if let Some(bytes) = context.room(question) {
        let now = listing.query_time.clone();
        listing.cut(bytes, |event| size(&row(event), &connection::row(event, &now)));
    }
    let mut lines = Vec::new();
    if listing.total == 0 {
        lines.push(format!("{nothing}{}", scope(question)));
    } else {
        lines.push(format!("{found} ({} total):", listing.total));
        lines.extend(
            listing.events.iter().map(|event| format!("  {}", connection::row(event, &listing.query_time))),
        );
    }
    if listing.hidden() > 0 {
        lines.push(format!("  ... and {} more events{}", listing.hidden(), context.more(listing.next())));
    }
    lines.extend(listing.trust.lines(loss::LIST));
    written(&lines, &listing.table(COLUMNS, row))
}

pub(super) fn most_events(question: &Question) -> u32 {
    if question.max_events == 0 { DEFAULT_EVENTS } else { question.max_events }
}

/// Where nothing was found: ` for process 'x' to 10.0.0.0/8 in the last hour`.
pub(super) fn scope(question: &Question) -> String {
    let window = match question.seconds_back() {
        Some(seconds) => format!(" in the last {seconds} seconds"),
        None if question.since.is_some() => " since then".to_owned(),
        None => " in the last hour".to_owned(),
    };
    format!("{}{}{window}", question.subject().suffix(), question.conditions())
}

/// Bytes that a row takes, as JSON or as text.
pub(super) fn size<const N: usize>(cells: &[Cell; N], text: &str) -> usize {
    let json = serde_json::to_string(cells.as_slice()).map_or(0, |json| json.len());
    json.max(text.len()) + 3
}

pub(super) const COLUMNS: [&str; 10] = [
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
