//! `list_connections`: the newest connections, one row each.

use netspy_api::ConnectionEvent;

use super::cell::Cell;
use super::listing::Listing;
use super::question::{DEFAULT_EVENTS, Question};
use super::{Answer, Context, Outcome, answer as written};
use crate::render::remark::Remark;
use crate::render::rows::Rows;
use crate::render::{connection, loss};

pub(super) async fn answer(context: &Context<'_>, question: Question) -> Outcome {
    let limit = most_events(&question);
    let mut listing = Listing::ask(context.client, &question, limit).await?;
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
        listing.cut(bytes, |event| size(&row(event)[..BRIEF], &connection::row(event, &now)));
    }
    let (mut lines, mut remarks) = (Vec::new(), Vec::new());
    if listing.total == 0 {
        remarks.push(Remark::Notice(format!("{nothing}{}", scope(question))));
    } else {
        lines.push(format!("{found} ({} total):", listing.total));
        lines.extend(
            listing.events.iter().map(|event| format!("  {}", connection::row(event, &listing.query_time))),
        );
    }
    if listing.hidden() > 0 {
        let more = context.more(listing.next());
        remarks.push(Remark::Notice(format!("  ... and {} more events{more}", listing.hidden())));
    }
    remarks.extend(listing.trust.lines(loss::LIST));
    written(lines, remarks, &listing.table(context.columns(&COLUMNS, BRIEF), row))
}

/// Connections as the list has them, for programs.
pub(crate) fn connection_rows(events: &[&ConnectionEvent]) -> Rows {
    let cells = |event: &&ConnectionEvent| {
        row(event).map(|cell| serde_json::to_value(cell).unwrap_or_default()).into()
    };
    Rows { columns: COLUMNS.map(str::to_owned).into(), rows: events.iter().map(cells).collect() }
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
pub(super) fn size(cells: &[Cell], text: &str) -> usize {
    let json = serde_json::to_string(cells).map_or(0, |json| json.len());
    json.max(text.len()) + 3
}

/// Columns that an agent is given, who pays for every word: the first ones.
const BRIEF: usize = 11;

const COLUMNS: [&str; 21] = [
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
    "direction",
    "ending",
    "duration_us",
    "bytes_sent",
    "bytes_received",
    "retransmits",
    "uid",
    "exe",
    "unit",
    "container_id",
    "id",
];

/// The values of `COLUMNS`.
fn row(event: &ConnectionEvent) -> [Cell; 21] {
    // The earlier server knows no direction, nor whose uid 0 would be.
    let is_earlier = event.direction.is_empty();
    [
        Cell::time(&event.time),
        Cell::text(&connection::destination(event)),
        Cell::text(connection::protocol(&event.protocol)),
        Cell::text(&event.command),
        Cell::number(event.pid),
        Cell::from(&event.source),
        Cell::text(&event.outcome),
        Cell::from(&event.errno_name),
        Cell::from(&event.stage),
        Cell::from(event.latency_us),
        Cell::text(&event.direction),
        Cell::from(&event.ending),
        Cell::from(event.duration_us),
        Cell::from(event.bytes_sent),
        Cell::from(event.bytes_received),
        Cell::from(event.retransmits.map(u64::from)),
        Cell::from((!is_earlier).then_some(u64::from(event.uid))),
        Cell::from(&event.exe),
        Cell::from(&event.unit),
        Cell::from(&event.container_id),
        Cell::text(&event.id),
    ]
}
