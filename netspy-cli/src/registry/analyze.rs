//! `analyze_patterns`: the connections of a window, grouped.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use netspy_api::ConnectionEvent;
use schemars::JsonSchema;
use serde::Serialize;

use super::list::scope;
use super::listing::Listing;
use super::question::{DEFAULT_DURATION, Direction, MOST_EVENTS, Question};
use super::trust::Trust;
use super::{Context, Outcome, ToolError, answer as written};
use crate::render::{connection, escape, loss};

/// Destinations shown; the rest is counted.
const TOP: usize = 10;

/// The same for programs.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Patterns {
    /// Connections in the window.
    total: u64,
    /// Most used first, at most ten.
    destinations: Vec<Destination>,
    /// Destinations beyond those.
    more_destinations: u64,
    /// Connections by protocol.
    protocols: BTreeMap<String, u64>,
    /// Connections by outcome; empty where the server cannot tell.
    outcomes: BTreeMap<String, u64>,
    /// Length of the window; 0 if it began at a given moment.
    duration_seconds: u32,
    /// When the window ends, RFC 3339.
    query_time: String,
    #[serde(flatten)]
    trust: Trust,
}

/// One remote end.
#[derive(Debug, Serialize, JsonSchema)]
struct Destination {
    /// Its address and port.
    address: String,
    /// Connections to it.
    connections: u64,
    /// How many of them failed.
    failed: u64,
}

pub(super) async fn answer(context: &Context<'_>, question: Question) -> Outcome {
    let mut listing = counted(context, &question).await?;
    if listing.hidden() > 0 {
        let note = format!(
            "Only the newest {} of {} connections were analyzed.",
            listing.events.len(),
            listing.total
        );
        listing.trust.note(note);
    }
    let patterns = group(listing, seconds(&question));
    Ok(written(lines(&patterns, &question), patterns.trust.lines(loss::COUNTS), &patterns))
}

/// Every outbound connection of the question's window: 60 seconds where it says none.
pub(super) async fn counted(
    context: &Context<'_>,
    question: &Question,
) -> Result<Listing<ConnectionEvent>, ToolError> {
    let question = Question { direction: Some(Direction::Outbound), ..windowed(question) };
    let mut listing = Listing::ask(context.client, &question, MOST_EVENTS).await?;
    if listing.total == 0 {
        listing.trust.check_empty(context.client, "connection", "connections", &question).await;
    }
    Ok(listing)
}

/// The question with its window said.
pub(super) fn windowed(question: &Question) -> Question {
    let unsaid = question.since.is_none() && question.duration == 0;
    Question { duration: if unsaid { DEFAULT_DURATION } else { question.duration }, ..question.clone() }
}

/// Length of the window; 0 where it begins at a moment.
pub(super) fn seconds(question: &Question) -> u32 {
    windowed(question).seconds_back().unwrap_or_default()
}

fn group(listing: Listing<ConnectionEvent>, duration_seconds: u32) -> Patterns {
    let mut destinations: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let (mut protocols, mut outcomes) = (BTreeMap::new(), BTreeMap::new());
    for event in &listing.events {
        let (connections, failed) = destinations.entry(connection::destination(event)).or_default();
        *connections += 1;
        *failed += u64::from(connection::is_failure(&event.outcome));
        *protocols.entry(connection::protocol(&event.protocol).to_owned()).or_default() += 1;
        if !event.outcome.is_empty() {
            *outcomes.entry(event.outcome.clone()).or_default() += 1;
        }
    }
    let mut destinations: Vec<Destination> = destinations
        .into_iter()
        .map(|(address, (connections, failed))| Destination { address, connections, failed })
        .collect();
    // Stable: equally used ones stay in the order of their addresses.
    destinations.sort_by_key(|destination| Reverse(destination.connections));
    let more_destinations = destinations.len().saturating_sub(TOP) as u64;
    destinations.truncate(TOP);
    Patterns {
        total: listing.total,
        destinations,
        more_destinations,
        protocols,
        outcomes,
        duration_seconds,
        query_time: listing.query_time,
        trust: listing.trust,
    }
}

fn lines(patterns: &Patterns, question: &Question) -> Vec<String> {
    let mut lines = Vec::new();
    if patterns.total == 0 {
        lines.push(format!("No connection events found{}", scope(&windowed(question))));
    } else {
        lines.push("Connection Analysis:".to_owned());
        lines.push("  Top destinations:".to_owned());
        lines.extend(patterns.destinations.iter().map(destination_line));
        if patterns.more_destinations > 0 {
            lines.push(format!("    ... and {} more destinations", patterns.more_destinations));
        }
        lines.push(format!("  Protocols: {}", most_first(&patterns.protocols)));
    }
    if !patterns.outcomes.is_empty() {
        let outcomes = connection::by_outcome(&patterns.outcomes);
        let outcomes: Vec<_> = outcomes.map(|(outcome, n)| format!("{outcome} ({n})")).collect();
        lines.push(format!("  Outcomes: {}", outcomes.join(", ")));
    }
    lines
}

fn destination_line(destination: &Destination) -> String {
    let Destination { address, connections, failed } = destination;
    let failed = if *failed == 0 { String::new() } else { format!(", {failed} failed") };
    format!("    {} ({connections} connections{failed})", escape::text(address))
}

/// `TCP (3), UDP (2)`.
pub(super) fn most_first(counts: &BTreeMap<String, u64>) -> String {
    let mut counts: Vec<_> = counts.iter().collect();
    counts.sort_by_key(|(_, n)| Reverse(**n));
    let counts: Vec<_> =
        counts.into_iter().map(|(name, n)| format!("{} ({n})", escape::text(name))).collect();
    counts.join(", ")
}
