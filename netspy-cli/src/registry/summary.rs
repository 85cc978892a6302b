//! `get_network_summary`: how many connections, and what became of them.

use std::collections::BTreeMap;

use netspy_api::{ClientError, Conditions, SummaryRequest};
use schemars::JsonSchema;
use serde::Serialize;

use super::analyze::{counted, seconds};
use super::listing::as_comm;
use super::question::Question;
use super::trust::Trust;
use super::{Context, Outcome, ToolError, answer as written, filter};
use crate::render::{connection, loss, time};

/// The same for programs.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Summary {
    /// Attempts in the window.
    count: u64,
    /// Attempts by outcome; those that did not occur are absent.
    outcomes: BTreeMap<String, u64>,
    /// Made by peers; not in `count`.
    inbound: u64,
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

pub(super) async fn answer(context: &Context<'_>, question: Question) -> Outcome {
    let summary = match ask(context, &question).await? {
        Some(summary) => summary,
        None => count(context, &question).await?,
    };
    Ok(written(lines(&summary, &question), summary.trust.lines(loss::COUNTS), &summary))
}

/// The server's own count; none where it does not know everything that is asked for.
async fn ask(context: &Context<'_>, question: &Question) -> Result<Option<Summary>, ToolError> {
    let name = question.process_name.as_str();
    let conditions = filter::of_connections(question);
    let mut answer =
        match context.client.connection_summary(&request(question, name, conditions.clone())).await {
            // v0.0.1 sums up only a process, over an hour at most.
            Err(ClientError::Status { code: 400, .. }) if is_earlier(context).await => return Ok(None),
            answer => answer?,
        };
    if answer.lost.is_none() {
        if question.has_conditions() || question.moment().is_some() {
            return Ok(None);
        }
        if as_comm(name) != name {
            // The earlier server compares with the name that the kernel cut, and would answer a confident 0.
            answer = context.client.connection_summary(&request(question, as_comm(name), conditions)).await?;
        }
    }
    let mut trust = Trust::new(answer.lost);
    if answer.count == 0 {
        trust.check_empty(context.client, "connection", "connections", question).await;
    }
    Ok(Some(Summary {
        count: answer.count,
        outcomes: answer.outcomes,
        inbound: answer.inbound,
        pid: question.pid,
        process_name: question.process_name.clone(),
        duration_seconds: seconds(question).into(),
        query_time: time::utc(&answer.query_time),
        trust,
    }))
}

/// Whether the server is an earlier one: those know no programs.
pub(super) async fn is_earlier(context: &Context<'_>) -> bool {
    context.client.health().await.is_ok_and(|health| health.lost.is_none() && health.programs.is_empty())
}

/// Counted here: the earlier servers' summaries do not know these conditions.
async fn count(context: &Context<'_>, question: &Question) -> Result<Summary, ToolError> {
    let listing = counted(context, question).await?;
    let mut outcomes = BTreeMap::new();
    for event in listing.events.iter().filter(|event| !event.outcome.is_empty()) {
        *outcomes.entry(event.outcome.clone()).or_default() += 1;
    }
    Ok(Summary {
        count: listing.total,
        outcomes,
        inbound: 0,
        pid: question.pid,
        process_name: question.process_name.clone(),
        duration_seconds: seconds(question).into(),
        query_time: listing.query_time,
        trust: listing.trust,
    })
}

/// The question as both summaries of the server take it.
pub(super) fn request(question: &Question, name: &str, conditions: Conditions) -> SummaryRequest {
    let since = question.moment().map(|moment| moment.to_string());
    let duration = since.is_none().then(|| seconds(question).into());
    SummaryRequest {
        pid: filter::pid(question),
        command: (!name.is_empty()).then(|| name.to_owned()),
        duration_seconds: duration,
        // Under the name that v0.0.1 knows, too.
        duration,
        since,
        conditions,
        ..SummaryRequest::default()
    }
}

fn lines(summary: &Summary, question: &Question) -> Vec<String> {
    let Summary { count, .. } = summary;
    let (subject, conditions) = (question.subject(), question.conditions());
    let mut lines = vec![if *count == 0 {
        let window = window("in", summary.duration_seconds);
        format!("No network connections found for {}{conditions} {window}", subject.any())
    } else {
        let window = window("over", summary.duration_seconds);
        // "1 attempts" too: scripts written for the earlier netspy look for these words.
        format!("{} made {count} outbound connection attempts{conditions} {window}", subject.all())
    }];
    if *count > 0 && !summary.outcomes.is_empty() {
        let outcomes = connection::by_outcome(&summary.outcomes);
        lines.push(format!(
            "  {}",
            outcomes.map(|(outcome, n)| format!("{n} {outcome}")).collect::<Vec<_>>().join(", ")
        ));
    }
    if summary.inbound > 0 {
        lines.push(format!("  Besides, {} inbound", summary.inbound));
    }
    lines
}

/// `in the last 60 seconds`, or what a window that began at a moment allows to say.
pub(super) fn window(preposition: &str, seconds: i64) -> String {
    if seconds == 0 { "since then".to_owned() } else { format!("{preposition} the last {seconds} seconds") }
}
