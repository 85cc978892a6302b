//! `explain_failures`: what fails, what that means, and what to look at, by rules.

use schemars::JsonSchema;
use serde::Serialize;

use super::drops;
use super::findings::{self, Finding};
use super::list::scope;
use super::listing::{BLIND, Listing};
use super::question::{MOST_EVENTS, Question};
use super::trust::Trust;
use super::{Context, Outcome, ToolError, answer as written};
use crate::render::loss;

/// Findings shown; the rest is counted.
const MOST_FINDINGS: usize = 10;

/// The same for programs.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Why {
    /// Connections that were looked at.
    pub(super) connections: u64,
    /// Dropped packets that were looked at.
    pub(super) packet_drops: u64,
    /// Worst first, at most ten.
    pub(super) findings: Vec<Finding>,
    /// Findings beyond those.
    pub(super) more_findings: u64,
    /// When the window ends, RFC 3339.
    pub(super) query_time: String,
    #[serde(flatten)]
    pub(super) trust: Trust,
}

pub(super) async fn answer(context: &Context<'_>, question: Question) -> Outcome {
    let why = look(context, &question).await?;
    Ok(written(lines(&why, &question), why.trust.lines(loss::COUNTS), &why))
}

/// Applies the rules to everything that the question is about.
pub(super) async fn look(context: &Context<'_>, question: &Question) -> Result<Why, ToolError> {
    let mut listing = Listing::ask(context.client, question, MOST_EVENTS).await?;
    if listing.is_earlier {
        listing.trust.note(BLIND.to_owned());
    }
    let dropped = drops::read(context, question, MOST_EVENTS).await?;
    if listing.total == 0 {
        listing.trust.check_empty(context.client, "connection", "connections", question).await;
    }
    if listing.hidden() + dropped.hidden() > 0 {
        let (connections, drops) = (listing.events.len(), dropped.events.len());
        listing.trust.note(format!(
            "Only the newest {connections} connections and {drops} drops of the window were looked at."
        ));
    }
    let mut findings = findings::find(&listing.events, &dropped.events);
    let more_findings = findings.len().saturating_sub(MOST_FINDINGS) as u64;
    findings.truncate(MOST_FINDINGS);
    Ok(Why {
        connections: listing.total,
        packet_drops: dropped.total,
        findings,
        more_findings,
        query_time: listing.query_time,
        trust: listing.trust,
    })
}

/// The findings alone, one line each.
pub(super) fn findings_in_words(why: &Why) -> String {
    if why.findings.is_empty() {
        return format!("Nothing failed among {} connections.", why.connections);
    }
    let lines = (1..).zip(&why.findings).flat_map(|(number, finding)| findings::lines(number, finding));
    lines.collect::<Vec<_>>().join("\n")
}

fn lines(why: &Why, question: &Question) -> Vec<String> {
    let looked = format!("{} connections and {} packet drops", why.connections, why.packet_drops);
    let mut lines = vec![match why.findings.len() {
        0 if why.connections == 0 => format!("No connections were attempted{}", scope(question)),
        0 => format!("Nothing failed among {looked}{}", scope(question)),
        n => format!("{} findings in {looked}{}:", n as u64 + why.more_findings, scope(question)),
    }];
    for (number, finding) in (1..).zip(&why.findings) {
        lines.extend(findings::lines(number, finding));
    }
    if why.more_findings > 0 {
        lines.push(format!("... and {} more; narrow by process or destination", why.more_findings));
    }
    lines
}
