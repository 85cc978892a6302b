//! `analyze_patterns`: the connections of a window, grouped.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use netspy_api::{Client, ConnectionEvent};
use schemars::JsonSchema;
use serde::Serialize;

use super::arguments::{MOST_EVENTS, WindowArguments};
use super::list::request;
use super::listing::Listing;
use super::trust::Trust;
use super::{Outcome, answer as written};
use crate::render::{Subject, connection, escape, loss};

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
    /// Length of the window.
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

pub(super) async fn answer(client: &Client, arguments: WindowArguments) -> Outcome {
    let (subject, duration) = (arguments.subject(), arguments.duration);
    let answer = client.list_connections(&request(&subject, Some(duration), MOST_EVENTS)).await?;
    let mut listing = Listing::read(answer, &subject, Some(duration), MOST_EVENTS);
    if listing.total == 0 {
        listing.trust.check_traced(client, "connection", "connections").await;
    }
    if listing.hidden() > 0 {
        let note = format!(
            "Only the newest {} of {} connections were analyzed.",
            listing.events.len(),
            listing.total
        );
        listing.trust.note(note);
    }
    let patterns = group(listing, duration);
    Ok(written(&lines(&patterns, &subject), &patterns))
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

fn lines(patterns: &Patterns, subject: &Subject<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if patterns.total == 0 {
        let seconds = patterns.duration_seconds;
        lines.push(format!("No connection events found{} in the last {seconds} seconds", subject.suffix()));
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
    lines.extend(patterns.trust.lines(loss::COUNTS));
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
