//! `get_status`: is everything watched, and was anything lost?

use netspy_api::{Lost, Program};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Context, Outcome, answer as written};
use crate::render::{escape, loss};

/// The same for programs.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Status {
    /// Address of the server.
    server: String,
    /// `healthy`, or `degraded` where an event cannot be traced.
    #[serde(rename = "status")]
    state: String,
    version: String,
    /// What is traced, and how; empty where the server cannot tell.
    programs: Vec<Traced>,
    /// Losses of the last hour; absent where the server cannot tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    lost: Option<Lost>,
}

/// One kind of event.
#[derive(Debug, Serialize, JsonSchema)]
struct Traced {
    name: String,
    /// `active` or `inactive`.
    status: String,
    /// `kprobe`, `tracepoint`, `replay` or `none`.
    rung: String,
    /// Why no better rung was taken.
    note: String,
}

impl From<Program> for Traced {
    fn from(Program { name, status, rung, note, .. }: Program) -> Self {
        Self { name, status, rung, note }
    }
}

pub(super) async fn answer(context: &Context<'_>) -> Outcome {
    let health = context.client.health().await?;
    let status = Status {
        server: context.client.address().to_owned(),
        state: health.status,
        version: health.version,
        programs: health.programs.into_iter().map(Traced::from).collect(),
        lost: health.lost,
    };
    let remarks = loss::lines(&[], status.lost.as_ref(), "answers about the last hour are incomplete");
    Ok(written(lines(&status), remarks, &status))
}

fn lines(status: &Status) -> Vec<String> {
    let shown = |text: &str| escape::text(text).into_owned();
    let mut lines = vec![format!(
        "netspy-server {} at {}: {}",
        shown(&status.version),
        shown(&status.server),
        shown(&status.state)
    )];
    lines.extend(status.programs.iter().map(|program| {
        let note =
            if program.note.is_empty() { String::new() } else { format!(", {}", shown(&program.note)) };
        format!("  {}: {} by {}{note}", shown(&program.name), shown(&program.status), shown(&program.rung))
    }));
    lines
}
