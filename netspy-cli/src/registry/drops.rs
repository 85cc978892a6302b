//! `get_packet_drop_summary` and `list_packet_drops`: what the kernel threw away, and why.

use std::collections::BTreeMap;

use netspy_api::{ClientError, DropEvent, Location};
use schemars::JsonSchema;
use serde::Serialize;

use super::analyze::{most_first, seconds, windowed};
use super::cell::Cell;
use super::list::{most_events, scope, size};
use super::listing::{Listing, as_comm};
use super::question::{MOST_EVENTS, Question};
use super::summary::{is_earlier, request, window};
use super::trust::Trust;
use super::{Context, Outcome, ToolError, answer as written, filter};
use crate::render::remark::Remark;
use crate::render::{drops, escape, loss, time};

/// The summary for programs.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DropSummary {
    /// Drops in the window.
    count: u64,
    /// Drops by the kernel's reason.
    reasons: BTreeMap<String, u64>,
    // `harmful`, `expected` (nothing is missing), `unclassified` (the reason does not tell).
    classes: BTreeMap<String, u64>,
    // Where in the kernel the unclassified ones were dropped, most first.
    unclassified_at: Vec<Location>,
    /// The process id that was asked for; 0 for any.
    pid: u32,
    /// The name that was asked for; empty for any.
    process_name: String,
    /// Length of the window; 0 if it began at a given moment.
    duration_seconds: i64,
    /// When the window ends, RFC 3339.
    query_time: String,
    #[serde(flatten)]
    trust: Trust,
}

pub(super) async fn summary(context: &Context<'_>, question: Question) -> Outcome {
    let summary = match ask(context, &question).await? {
        Some(summary) => summary,
        None => count(context, &question).await?,
    };
    Ok(written(summary_lines(&summary, &question), summary.trust.lines(loss::COUNTS), &summary))
}

/// The server's own count; none where it does not know everything that is asked for.
async fn ask(context: &Context<'_>, question: &Question) -> Result<Option<DropSummary>, ToolError> {
    let name = question.process_name.as_str();
    let conditions = filter::of_drops(question);
    let mut answer = match context.client.drop_summary(&request(question, name, conditions.clone())).await {
        // As for connections: v0.0.1 sums up only a process.
        Err(ClientError::Status { code: 400, .. }) if is_earlier(context).await => return Ok(None),
        answer => answer?,
    };
    if answer.lost.is_none() {
        if question.has_conditions() || question.moment().is_some() {
            return Ok(None);
        }
        if as_comm(name) != name {
            // The earlier server knows only the name that the kernel cut.
            answer = context.client.drop_summary(&request(question, as_comm(name), conditions)).await?;
        }
    }
    let mut trust = Trust::new(answer.lost);
    answer.sampled.iter().flat_map(drops::sampling).for_each(|note| trust.note(note));
    if answer.count == 0 {
        trust.check_empty(context.client, "packet_drop", "packet drops", question).await;
    }
    Ok(Some(DropSummary {
        count: answer.count,
        reasons: answer.reasons,
        classes: answer.classes,
        unclassified_at: answer.unclassified_at,
        pid: question.pid,
        process_name: question.process_name.clone(),
        duration_seconds: seconds(question).into(),
        query_time: time::utc(&answer.query_time),
        trust,
    }))
}

/// Counted here: the earlier servers' summaries do not know these conditions.
async fn count(context: &Context<'_>, question: &Question) -> Result<DropSummary, ToolError> {
    let listing = read(context, &windowed(question), MOST_EVENTS).await?;
    let (mut reasons, mut classes) = (BTreeMap::new(), BTreeMap::new());
    for event in &listing.events {
        *reasons.entry(drops::reason(event).to_owned()).or_default() += 1;
        if !event.class.is_empty() {
            *classes.entry(event.class.clone()).or_default() += 1;
        }
    }
    Ok(DropSummary {
        count: listing.total,
        reasons,
        classes,
        unclassified_at: Vec::new(),
        pid: question.pid,
        process_name: question.process_name.clone(),
        duration_seconds: seconds(question).into(),
        query_time: listing.query_time,
        trust: listing.trust,
    })
}

fn summary_lines(summary: &DropSummary, question: &Question) -> Vec<String> {
    let DropSummary { count, .. } = summary;
    let (subject, conditions) = (question.subject(), question.conditions());
    let mut lines = vec![if *count == 0 {
        let window = window("in", summary.duration_seconds);
        format!("No packet drops found for {}{conditions} {window}", subject.any())
    } else {
        let window = window("over", summary.duration_seconds);
        format!("{} had {count} packet drops{conditions} {window}", subject.all())
    }];
    for parts in [&summary.classes, &summary.reasons] {
        if *count > 0 && !parts.is_empty() {
            lines.push(format!("  {}", most_first(parts)));
        }
    }
    let places = summary.unclassified_at.iter().take(SHOWN_PLACES);
    lines.extend(places.map(|at| format!("  unclassified at {} ({})", escape::text(&at.location), at.count)));
    lines
}

/// Places that a summary for people names.
const SHOWN_PLACES: usize = 5;

pub(super) async fn list(context: &Context<'_>, question: Question) -> Outcome {
    let mut listing = read(context, &question, most_events(&question)).await?;
    if let Some(bytes) = context.room(&question) {
        let now = listing.query_time.clone();
        listing.cut(bytes, |event| size(&row(event)[..BRIEF], &drops::row(event, &now)));
    }
    let (lines, remarks) = list_lines(context, &listing, &question);
    Ok(written(lines, remarks, &listing.table(context.columns(&COLUMNS, BRIEF), row)))
}

/// The newest drops that the question asks for.
pub(super) async fn read(
    context: &Context<'_>,
    question: &Question,
    limit: u32,
) -> Result<Listing<DropEvent>, ToolError> {
    let mut listing = Listing::ask(context.client, question, limit).await?;
    if listing.total == 0 {
        listing.trust.check_empty(context.client, "packet_drop", "packet drops", question).await;
    }
    Ok(listing)
}

/// The rows, and what is to be remarked.
fn list_lines(
    context: &Context<'_>,
    listing: &Listing<DropEvent>,
    question: &Question,
) -> (Vec<String>, Vec<Remark>) {
    let (mut lines, mut remarks) = (Vec::new(), Vec::new());
    if listing.total == 0 {
        remarks.push(Remark::Notice(format!("No packet drop events found{}", scope(question))));
    } else {
        lines.push(format!("Recent packet drop events ({} total):", listing.total));
        let numbered = (1..).zip(&listing.events);
        lines.extend(numbered.map(|(n, event)| format!("{n}. {}", drops::row(event, &listing.query_time))));
    }
    if listing.hidden() > 0 {
        let more = context.more(listing.next());
        remarks.push(Remark::Notice(format!("... and {} more events{more}", listing.hidden())));
    }
    remarks.extend(drops::legend(&listing.events).into_iter().map(Remark::Aside));
    remarks.extend(listing.trust.lines(loss::LIST));
    (lines, remarks)
}

/// Columns that an agent is given: the first ones.
const BRIEF: usize = 13;

const COLUMNS: [&str; 18] = [
    "time",
    "reason",
    "class",
    "pid",
    "process_name",
    "protocol",
    "source",
    "destination",
    "bytes",
    "direction",
    "interface",
    "location",
    "attribution",
    "uid",
    "exe",
    "unit",
    "container_id",
    "id",
];

fn row(event: &DropEvent) -> [Cell; 18] {
    let owner = drops::has_owner(event);
    [
        Cell::time(&event.time),
        Cell::text(drops::reason(event)),
        Cell::text(&event.class),
        Cell::from(owner.then_some(u64::from(event.pid))),
        Cell::text(if owner { &event.command } else { "" }),
        Cell::text(&event.protocol),
        Cell::from(&event.source),
        Cell::from(&event.destination),
        Cell::number(event.skb_length),
        Cell::from(&event.direction),
        Cell::from(&event.interface),
        Cell::text(&event.location),
        Cell::text(&event.attribution),
        Cell::from(event.uid.map(u64::from)),
        Cell::from(&event.exe),
        Cell::from(&event.unit),
        Cell::from(&event.container_id),
        Cell::text(&event.id),
    ]
}
