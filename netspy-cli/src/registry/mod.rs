//! The tools, each written once. Every front (one-shot, REPL, MCP) finds them here; a front adds only how
//! input is read and how output is shown.

mod analyze;
mod cell;
mod drops;
mod earlier;
mod filter;
mod findings;
mod insights;
mod list;
mod listing;
mod overview;
pub(crate) mod polled;
mod question;
mod schema;
mod seen;
mod status;
mod suggest;
mod summary;
mod trust;
mod watch;
mod why;

use std::pin::Pin;

use netspy_api::{Client, ClientError};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::ai::Settings;
use crate::render::remark::Remark;

pub(crate) use filter::of_stream as stream_request;
pub(crate) use list::connection_rows;
pub(crate) use overview::{Line, Overview, Panel, overview};
pub(crate) use question::{Question, Since};
pub(crate) use seen::Seen;
pub(crate) use suggest::line as did_you_mean;

/// Something that can be asked.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    /// What it is called where names are for people.
    pub(crate) title: &'static str,
    pub(crate) description: &'static str,
    /// What of the vocabulary it takes.
    pub(crate) arguments: &'static [&'static str],
    /// Those without which it cannot answer.
    pub(crate) required: &'static [&'static str],
    /// What a caller must be allowed to do.
    pub(crate) reach: Reach,
    output: fn() -> Map<String, Value>,
    call: Call,
}

/// How far a tool reaches, narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// Reads what was recorded.
    Read,
    /// Watches what happens, for a while.
    Trace,
    /// May ask a model, outside of this machine perhaps.
    Ai,
}

/// What a tool works with: a server, and what the front can do.
pub(crate) struct Context<'a> {
    pub(crate) client: &'a Client,
    /// Whether and which model may be asked.
    pub(crate) ai: &'a Settings,
    /// Told of every step of what takes longer.
    pub(crate) progress: &'a (dyn Fn(&Progress) + Send + Sync),
    /// Tokens that an answer may take where the question does not say; none for people and scripts.
    pub(crate) tokens: Option<u32>,
}

/// A step of what takes longer.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) done: u32,
    pub(crate) total: u32,
    /// Safe to write to a terminal.
    pub(crate) message: String,
}

type Call = for<'a> fn(&'a Context<'a>, Question) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;
type Outcome = Result<Answer, ToolError>;

/// What a tool found out.
#[derive(Debug)]
pub(crate) struct Answer {
    /// For people; safe to write to a terminal, without the last line end.
    pub(crate) text: String,
    /// The lines of it that are about the answer rather than part of it: what is not shown, what was lost.
    pub(crate) remarks: Vec<Remark>,
    /// For programs: an object, as the tool's output schema says. Strings are as the machine gave them.
    pub(crate) value: Value,
}

/// Why a tool found out nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    /// It was asked for something that cannot be.
    #[error("{tool}: {reason}")]
    Arguments { tool: &'static str, reason: String },
    /// The server did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
}

const WINDOW: &[&str] = &["pid", "process_name", "to", "port", "failed", "duration", "since"];
const DROP_WINDOW: &[&str] = &["pid", "process_name", "to", "port", "duration", "since"];
const LIST: &[&str] = &[
    "pid",
    "process_name",
    "to",
    "port",
    "failed",
    "direction",
    "since",
    "max_events",
    "max_tokens",
    "cursor",
];
const DROP_LIST: &[&str] =
    &["pid", "process_name", "to", "port", "since", "max_events", "max_tokens", "cursor"];

/// Every tool, in the order in which they are shown.
pub(crate) static TOOLS: &[Tool] = &[
    Tool {
        name: "get_network_summary",
        title: "Connection summary",
        description: "Count the outbound connections that a process, a pid or the whole machine attempted in the \
                      last seconds, with their outcomes.",
        arguments: WINDOW,
        required: &[],
        reach: Reach::Read,
        output: schema::of_output::<summary::Summary>,
        call: |context, question| Box::pin(summary::answer(context, question)),
    },
    Tool {
        name: "list_connections",
        title: "Recent connections",
        description: "List the newest connections, of the last hour if since is absent: when, where to, \
                      protocol, process, pid, outcome, errno and latency.",
        arguments: LIST,
        required: &[],
        reach: Reach::Read,
        output: schema::of_output::<listing::Table>,
        call: |context, question| Box::pin(list::answer(context, question)),
    },
    Tool {
        name: "analyze_patterns",
        title: "Connection patterns",
        description: "Group the outbound connections of the last seconds by destination, protocol and outcome.",
        arguments: WINDOW,
        required: &[],
        reach: Reach::Read,
        output: schema::of_output::<analyze::Patterns>,
        call: |context, question| Box::pin(analyze::answer(context, question)),
    },
    Tool {
        name: "get_packet_drop_summary",
        title: "Packet drop summary",
        description: "Count the packets that the kernel dropped in the last seconds, by the kernel's own reason.",
        arguments: DROP_WINDOW,
        required: &[],
        reach: Reach::Read,
        output: schema::of_output::<drops::DropSummary>,
        call: |context, question| Box::pin(drops::summary(context, question)),
    },
    Tool {
        name: "list_packet_drops",
        title: "Recent packet drops",
        description: "List the newest packets that the kernel dropped, of the last hour if since is absent: whose, \
                      why, which, and at which place in the kernel.",
        arguments: DROP_LIST,
        required: &[],
        reach: Reach::Read,
        output: schema::of_output::<listing::Table>,
        call: |context, question| Box::pin(drops::list(context, question)),
    },
    Tool {
        name: "explain_failures",
        title: "Why connections fail",
        description: "Rank what failed, of the last hour if since is absent: which process cannot reach what, what \
                      the error means, which dropped packets belong to it, and what to look at next. By rules, with \
                      evidence.",
        arguments: &["pid", "process_name", "to", "port", "since"],
        required: &[],
        reach: Reach::Read,
        output: schema::of_output::<why::Why>,
        call: |context, question| Box::pin(why::answer(context, question)),
    },
    Tool {
        name: "watch_connections",
        title: "Watch connections live",
        description: "Wait, and list what connects meanwhile. Reports progress.",
        arguments: &["pid", "process_name", "to", "port", "failed", "direction", "seconds", "max_tokens"],
        required: &[],
        reach: Reach::Trace,
        output: schema::of_output::<listing::Table>,
        call: |context, question| Box::pin(watch::answer(context, question)),
    },
    Tool {
        name: "get_status",
        title: "Status of the server",
        description: "Whether connections and drops are traced, how, and what was lost in the last hour.",
        arguments: &[],
        required: &[],
        reach: Reach::Read,
        output: schema::of_output::<status::Status>,
        call: |context, _| Box::pin(status::answer(context)),
    },
    Tool {
        name: "ai_insights",
        title: "Explanation of a summary",
        description: "Explain a summary and what the rules find in the last hour. Asks a model once if one is \
                      configured (names are replaced by pseudonyms); otherwise the rules' findings.",
        arguments: &["summary_text"],
        required: &["summary_text"],
        reach: Reach::Ai,
        output: schema::of_output::<insights::Insight>,
        call: |context, question| Box::pin(insights::explain(context, question)),
    },
    Tool {
        name: "contextual_analysis",
        title: "Answer to a question",
        description: "Answer a question about the network in plain words. A model calls the reading tools if one is \
                      configured (names are replaced by pseudonyms); otherwise the rules' findings.",
        arguments: &["query", "process_name", "pid", "duration"],
        required: &["query"],
        reach: Reach::Ai,
        output: schema::of_output::<insights::Insight>,
        call: |context, question| Box::pin(insights::investigate(context, question)),
    },
];

/// The tool of this name.
pub(crate) fn find(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

impl Tool {
    /// JSON Schema of the arguments.
    pub(crate) fn input_schema(&self) -> Map<String, Value> {
        schema::of_input::<Question>(self.arguments, self.required)
    }

    /// JSON Schema of an answer's value.
    pub(crate) fn output_schema(&self) -> Map<String, Value> {
        (self.output)()
    }

    /// Whether it has an argument of this name.
    pub(crate) fn takes(&self, argument: &str) -> bool {
        self.arguments.contains(&argument)
    }

    /// Asks.
    pub(crate) async fn call(&self, context: &Context<'_>, arguments: Map<String, Value>) -> Outcome {
        (self.call)(context, Question::read(self, arguments)?).await
    }
}

/// Bytes of a token: netspy's rows of digits and addresses are split finer than English, as a test measures.
const BYTES_PER_TOKEN: usize = 2;
/// Tokens of an answer beside its rows.
const FRAME: u32 = 300;

impl Context<'_> {
    /// Bytes that the rows of an answer may take; none where nobody counts.
    fn room(&self, question: &Question) -> Option<usize> {
        let tokens = Some(question.max_tokens).filter(|tokens| *tokens > 0).or(self.tokens)?;
        Some(tokens.saturating_sub(FRAME) as usize * BYTES_PER_TOKEN)
    }

    /// Columns of a list: an agent is given the first `brief` ones, everybody else all.
    fn columns<'a>(&self, all: &'a [&'static str], brief: usize) -> &'a [&'static str] {
        if self.tokens.is_some() { &all[..brief] } else { all }
    }

    /// How to see more, where somebody counts tokens and may not see the structure.
    fn more(&self, cursor: Option<String>) -> String {
        let Some(cursor) = cursor.filter(|_| self.tokens.is_some()) else { return String::new() };
        format!("; narrow by process_name, to, port or since, or go on with cursor {cursor}")
    }
}

/// Lines for people, what is to be remarked after them, and the same for programs.
fn answer(mut lines: Vec<String>, remarks: Vec<Remark>, value: &impl Serialize) -> Answer {
    lines.extend(remarks.iter().map(|remark| remark.text().to_owned()));
    // Serialising plain structs of strings and numbers cannot fail; null would be a visible bug, not a wrong answer.
    Answer { text: lines.join("\n"), remarks, value: serde_json::to_value(value).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_is_found_by_its_name_and_has_object_schemas() {
        for tool in TOOLS {
            assert_eq!(find(tool.name).map(|found| found.name), Some(tool.name));
            let input = tool.input_schema();
            assert!(
                tool.arguments.iter().all(|name| input["properties"].get(name).is_some()),
                "{}",
                tool.name
            );
            for schema in [input, tool.output_schema()] {
                assert_eq!(schema["type"], "object", "{}", tool.name);
                let text = Value::Object(schema).to_string();
                assert!(!text.contains("\"format\"") && !text.contains("$ref"), "{text}");
            }
        }
        assert!(find("get_network_summary").is_some_and(|tool| !tool.takes("max_events")));
    }
}
