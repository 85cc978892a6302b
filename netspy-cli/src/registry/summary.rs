//! `get_network_summary`: how many connections, and what became of them.

use std::collections::BTreeMap;

use netspy_api::{Client, SummaryRequest};
use schemars::JsonSchema;
use serde::Serialize;

use super::arguments::WindowArguments;
use super::listing::as_comm;
use super::trust::Trust;
use super::{Outcome, ToolError, answer as written};
use crate::render::{self, connection, loss};

/// The same for programs.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Summary {
    /// Attempts in the window.
    count: u64,
    /// Attempts by outcome; those that did not occur are absent.
    outcomes: BTreeMap<String, u64>,
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

pub(super) async fn answer(client: &Client, arguments: WindowArguments) -> Outcome {
    let summary = ask(client, arguments).await?;
    Ok(written(&lines(&summary), &summary))
}

async fn ask(client: &Client, arguments: WindowArguments) -> Result<Summary, ToolError> {
    let mut answer = client.connection_summary(&request(&arguments, &arguments.process_name)).await?;
    if answer.lost.is_none() && as_comm(&arguments.process_name) != arguments.process_name {
        // The earlier server compares with the name that the kernel cut, and would answer a confident 0.
        answer = client.connection_summary(&request(&arguments, as_comm(&arguments.process_name))).await?;
    }
    let mut trust = Trust::new(answer.lost);
    if answer.count == 0 {
        trust.check_traced(client, "connection", "connections").await;
    }
    Ok(Summary {
        count: answer.count,
        outcomes: answer.outcomes,
        pid: arguments.pid,
        process_name: arguments.process_name,
        duration_seconds: answer.duration_seconds,
        query_time: answer.query_time,
        trust,
    })
}

/// The question as both summaries of the server take it.
pub(super) fn request(arguments: &WindowArguments, name: &str) -> SummaryRequest {
    SummaryRequest {
        pid: (arguments.pid != 0).then_some(arguments.pid),
        command: (!name.is_empty()).then(|| name.to_owned()),
        duration_seconds: Some(arguments.duration.into()),
        ..SummaryRequest::default()
    }
}

fn lines(summary: &Summary) -> Vec<String> {
    let Summary { count, duration_seconds, .. } = summary;
    let subject = render::Subject { pid: summary.pid, name: &summary.process_name };
    let mut lines = vec![if *count == 0 {
        format!("No network connections found for {} in the last {duration_seconds} seconds", subject.any())
    } else {
        // "1 attempts" too: scripts written for the earlier netspy look for these words.
        format!(
            "{} made {count} outbound connection attempts over the last {duration_seconds} seconds",
            subject.all()
        )
    }];
    if *count > 0 && !summary.outcomes.is_empty() {
        let outcomes = connection::by_outcome(&summary.outcomes);
        lines.push(format!(
            "  {}",
            outcomes.map(|(outcome, n)| format!("{n} {outcome}")).collect::<Vec<_>>().join(", ")
        ));
    }
    lines.extend(summary.trust.lines(loss::COUNTS));
    lines
}
