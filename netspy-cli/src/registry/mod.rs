//! The tools, each written once. Every front (one-shot, REPL, MCP) finds them here; a front adds only how
//! input is read and how output is shown.

mod analyze;
mod arguments;
mod cell;
mod drops;
mod list;
mod listing;
mod schema;
mod summary;
mod trust;

use std::pin::Pin;

use netspy_api::{Client, ClientError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use arguments::{ListArguments, WindowArguments};

/// Something that can be asked.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    /// What it is called where names are for people.
    pub(crate) title: &'static str,
    pub(crate) description: &'static str,
    input: fn() -> Map<String, Value>,
    output: fn() -> Map<String, Value>,
    call: Call,
}

type Call = for<'a> fn(&'a Client, Map<String, Value>) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;
type Outcome = Result<Answer, ToolError>;

/// What a tool found out.
#[derive(Debug)]
pub(crate) struct Answer {
    /// For people; safe to write to a terminal, without the last line end.
    pub(crate) text: String,
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

/// Every tool, in the order in which they are shown.
pub(crate) static TOOLS: [Tool; 5] = [
    Tool {
        name: "get_network_summary",
        title: "Connection summary",
        description: "Count the outbound connections that a process, a pid or the whole machine attempted in the \
                      last seconds, with their outcomes (established, refused, timed out, …).",
        input: schema::of_input::<WindowArguments>,
        output: schema::of_output::<summary::Summary>,
        call: |client, map| {
            Box::pin(async { summary::answer(client, read("get_network_summary", map)?).await })
        },
    },
    Tool {
        name: "list_connections",
        title: "Recent connections",
        description: "List the newest outbound connections of the last hour: when, where to, protocol, process, \
                      pid, outcome, errno and latency.",
        input: schema::of_input::<ListArguments>,
        output: schema::of_output::<listing::Table>,
        call: |client, map| Box::pin(async { list::answer(client, read("list_connections", map)?).await }),
    },
    Tool {
        name: "analyze_patterns",
        title: "Connection patterns",
        description: "Group the outbound connections of the last seconds by destination, protocol and outcome: \
                      who is talked to most, and what fails.",
        input: schema::of_input::<WindowArguments>,
        output: schema::of_output::<analyze::Patterns>,
        call: |client, map| Box::pin(async { analyze::answer(client, read("analyze_patterns", map)?).await }),
    },
    Tool {
        name: "get_packet_drop_summary",
        title: "Packet drop summary",
        description: "Count the packets that the kernel dropped in the last seconds, by the kernel's own reason.",
        input: schema::of_input::<WindowArguments>,
        output: schema::of_output::<drops::DropSummary>,
        call: |client, map| {
            Box::pin(async { drops::summary(client, read("get_packet_drop_summary", map)?).await })
        },
    },
    Tool {
        name: "list_packet_drops",
        title: "Recent packet drops",
        description: "List the newest packets that the kernel dropped in the last hour: whose, why, which, and at \
                      which place in the kernel.",
        input: schema::of_input::<ListArguments>,
        output: schema::of_output::<listing::Table>,
        call: |client, map| Box::pin(async { drops::list(client, read("list_packet_drops", map)?).await }),
    },
];

/// The tool of this name.
pub(crate) fn find(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

impl Tool {
    /// JSON Schema of the arguments.
    pub(crate) fn input_schema(&self) -> Map<String, Value> {
        (self.input)()
    }

    /// JSON Schema of an answer's value.
    pub(crate) fn output_schema(&self) -> Map<String, Value> {
        (self.output)()
    }

    /// Whether it has an argument of this name.
    pub(crate) fn takes(&self, argument: &str) -> bool {
        self.input_schema()["properties"].get(argument).is_some()
    }

    /// Asks.
    pub(crate) async fn call(&self, client: &Client, arguments: Map<String, Value>) -> Outcome {
        (self.call)(client, arguments).await
    }
}

fn read<T: DeserializeOwned>(tool: &'static str, arguments: Map<String, Value>) -> Result<T, ToolError> {
    serde_json::from_value(Value::Object(arguments))
        .map_err(|error| ToolError::Arguments { tool, reason: error.to_string() })
}

/// Lines for people and the same for programs.
fn answer(lines: &[String], value: &impl Serialize) -> Answer {
    // Serialising plain structs of strings and numbers cannot fail; null would be a visible bug, not a wrong answer.
    Answer { text: lines.join("\n"), value: serde_json::to_value(value).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_is_found_by_its_name_and_has_object_schemas() {
        for tool in &TOOLS {
            assert_eq!(find(tool.name).map(|found| found.name), Some(tool.name));
            assert!(tool.takes("pid") && tool.takes("process_name"));
            for schema in [tool.input_schema(), tool.output_schema()] {
                assert_eq!(schema["type"], "object", "{}", tool.name);
                let text = Value::Object(schema).to_string();
                assert!(!text.contains("\"format\"") && !text.contains("$ref"), "{text}");
            }
        }
        assert!(find("get_network_summary").is_some_and(|tool| !tool.takes("max_events")));
    }
}
