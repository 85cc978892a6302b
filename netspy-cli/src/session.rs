//! Calling a tool for a person or a script: shared by the one-shots and the REPL.

use std::io;

use netspy_api::Client;
use serde_json::{Map, Value, json};

use crate::cli::Ask;
use crate::output::{self, Exit, Format};
use crate::registry::{self, Tool};
use crate::render::escape;

/// A server to ask and the way to write its answers.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) format: Format,
}

impl Session {
    /// Answers one command.
    pub(crate) async fn ask(&self, ask: &Ask, format: Format) -> io::Result<Exit> {
        match ask.tool() {
            Some((tool, arguments)) => self.call_as(tool, arguments, format).await,
            None => tools(format),
        }
    }

    /// Calls one tool and writes its answer in the session's format.
    pub(crate) async fn call(&self, tool: &Tool, arguments: Map<String, Value>) -> io::Result<Exit> {
        self.call_as(tool, arguments, self.format).await
    }

    async fn call_as(&self, tool: &Tool, arguments: Map<String, Value>, format: Format) -> io::Result<Exit> {
        tracing::debug!(tool = tool.name, ?arguments, "calling");
        match tool.call(&self.client, arguments).await {
            Ok(answer) => {
                output::data(&match format {
                    Format::Text => answer.text,
                    Format::Json => escape::json(&answer.value),
                })?;
                Ok(Exit::Success)
            }
            Err(error) => {
                output::words(&format!("Error: {}", escape::text(&error.to_string())));
                Ok(Exit::from(&error))
            }
        }
    }
}

fn tools(format: Format) -> io::Result<Exit> {
    let tools = registry::TOOLS.iter();
    output::data(&match format {
        Format::Text => {
            let mut lines = vec!["Available MCP Tools:".to_owned()];
            lines.extend(tools.map(|tool| format!("• {}: {}", tool.name, tool.description)));
            lines.join("\n")
        }
        Format::Json => {
            let described = tools.map(
                |t| json!({"name": t.name, "description": t.description, "inputSchema": t.input_schema()}),
            );
            described.collect::<Value>().to_string()
        }
    })?;
    Ok(Exit::Success)
}
