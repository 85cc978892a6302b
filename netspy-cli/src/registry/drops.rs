//! `get_packet_drop_summary` and `list_packet_drops`: what the kernel threw away, and why.

use std::collections::BTreeMap;

use netspy_api::{Client, DropEvent};
use schemars::JsonSchema;
use serde::Serialize;

use super::analyze::most_first;
use super::arguments::{ListArguments, WindowArguments};
use super::cell::Cell;
use super::listing::{Listing, as_comm};
use super::trust::Trust;
use super::{Outcome, answer as written, list, summary};
use crate::render::{Subject, drops, loss};

/// The summary for programs.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DropSummary {
    /// Drops in the window.
    count: u64,
    /// Drops by the kernel's reason.
    reasons: BTreeMap<String, u64>,
    /// The process id that was asked for; 0 for any.
    pid: u32,
    /// The name that was asked for; empty for any.
    process_name: String,
    /// Length of the window.
    duration_seconds: i64,
    /// When the window ends, RFC 3339.
    query_time: String,
    #[serde(flatten)]
    trust: Trust,
}

pub(super) async fn summary(client: &Client, arguments: WindowArguments) -> Outcome {
    let name = &arguments.process_name;
    let mut answer = client.drop_summary(&summary::request(&arguments, name)).await?;
    if answer.lost.is_none() && as_comm(name) != name {
        // As for connections: the earlier server knows only the name that the kernel cut.
        answer = client.drop_summary(&summary::request(&arguments, as_comm(name))).await?;
    }
    let mut trust = Trust::new(answer.lost);
    if answer.count == 0 {
        trust.check_traced(client, "packet_drop", "packet drops").await;
    }
    let summary = DropSummary {
        count: answer.count,
        reasons: answer.reasons,
        pid: arguments.pid,
        process_name: arguments.process_name,
        duration_seconds: answer.duration_seconds,
        query_time: answer.query_time,
        trust,
    };
    Ok(written(&summary_lines(&summary), &summary))
}

fn summary_lines(summary: &DropSummary) -> Vec<String> {
    let DropSummary { count, duration_seconds, .. } = summary;
    let subject = Subject { pid: summary.pid, name: &summary.process_name };
    let mut lines = vec![if *count == 0 {
        format!("No packet drops found for {} in the last {duration_seconds} seconds", subject.any())
    } else {
        format!("{} had {count} packet drops over the last {duration_seconds} seconds", subject.all())
    }];
    if *count > 0 && !summary.reasons.is_empty() {
        lines.push(format!("  {}", most_first(&summary.reasons)));
    }
    lines.extend(summary.trust.lines(loss::COUNTS));
    lines
}

pub(super) async fn list(client: &Client, arguments: ListArguments) -> Outcome {
    let subject = arguments.subject();
    let answer = client.list_packet_drops(&list::request(&subject, None, arguments.max_events)).await?;
    let mut listing = Listing::read(answer, &subject, None, arguments.max_events);
    if listing.total == 0 {
        listing.trust.check_traced(client, "packet_drop", "packet drops").await;
    }
    let lines = list_lines(&listing, &subject);
    Ok(written(&lines, &listing.table(COLUMNS, row)))
}

fn list_lines(listing: &Listing<DropEvent>, subject: &Subject<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if listing.total == 0 {
        lines.push(format!("No packet drop events found{} in the last hour", subject.suffix()));
    } else {
        lines.push(format!("Recent packet drop events ({} total):", listing.total));
        let numbered = (1..).zip(&listing.events);
        lines.extend(numbered.map(|(n, event)| format!("{n}. {}", drops::row(event, &listing.query_time))));
    }
    if listing.hidden() > 0 {
        lines.push(format!("... and {} more events", listing.hidden()));
    }
    lines.extend(listing.trust.lines(loss::LIST));
    lines
}

const COLUMNS: [&str; 10] = [
    "time",
    "reason",
    "pid",
    "process_name",
    "protocol",
    "source",
    "destination",
    "bytes",
    "location",
    "attribution",
];

fn row(event: &DropEvent) -> [Cell; 10] {
    let owner = drops::has_owner(event);
    [
        Cell::text(&event.time),
        Cell::text(drops::reason(event)),
        Cell::from(owner.then_some(u64::from(event.pid))),
        Cell::text(if owner { &event.command } else { "" }),
        Cell::text(&event.protocol),
        Cell::from(&event.source),
        Cell::from(&event.destination),
        Cell::number(event.skb_length),
        Cell::text(&event.location),
        Cell::text(&event.attribution),
    ]
}
