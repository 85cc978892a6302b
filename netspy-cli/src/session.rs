//! Calling a tool for a person or a script: shared by the one-shots and the REPL.

use std::io::{self, IsTerminal};

use netspy_api::Client;
use serde_json::{Map, Value, json};

use crate::ai::Settings;
use crate::cli::Ask;
use crate::follow;
use crate::output::{self, Exit, Format};
use crate::registry::{self, Context, Progress, Tool};
use crate::render::{escape, rows};

/// A server to ask and the way to write its answers.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) format: Format,
    pub(crate) ai: Settings,
}

impl Session {
    /// Answers one command.
    pub(crate) async fn ask(&self, ask: &Ask, format: Format) -> io::Result<Exit> {
        match (ask, ask.tool()) {
            (_, Some((tool, arguments))) => self.call_as(tool, arguments, format).await,
            (Ask::Follow(flags), None) => follow::run(&self.client, flags.arguments(), format).await,
            (_, None) => tools(format),
        }
    }

    /// Calls one tool and writes its answer in the session's format.
    pub(crate) async fn call(&self, tool: &Tool, arguments: Map<String, Value>) -> io::Result<Exit> {
        self.call_as(tool, arguments, self.format).await
    }

    async fn call_as(&self, tool: &Tool, arguments: Map<String, Value>, format: Format) -> io::Result<Exit> {
        tracing::debug!(tool = tool.name, ?arguments, "calling");
        let context = Context { client: &self.client, ai: &self.ai, progress: &show, tokens: None };
        match tool.call(&context, arguments).await {
            Ok(answer) => {
                match rows::written(&answer, format) {
                    Some(text) if text.is_empty() => {}
                    Some(text) => output::data(&text)?,
                    None => {
                        output::words(&format!("Error: {} has no rows; use -o json", tool.name));
                        return Ok(Exit::Usage);
                    }
                }
                Ok(Exit::Success)
            }
            Err(error) => {
                output::words(&format!("Error: {}", escape::text(&error.to_string())));
                Ok(Exit::from(&error))
            }
        }
    }
}

/// A step of what takes longer, where somebody watches.
fn show(step: &Progress) {
    if io::stderr().is_terminal() {
        output::words(&format!("... {}", escape::text(&step.message)));
    }
}

fn tools(format: Format) -> io::Result<Exit> {
    let tools = registry::TOOLS.iter();
    output::data(&match format {
        Format::Text | Format::Csv => {
            let mut lines = vec!["Available MCP Tools:".to_owned()];
            lines.extend(tools.map(|tool| format!("• {}: {}", tool.name, tool.description)));
            lines.join("\n")
        }
        Format::Json | Format::Ndjson => {
            let described = tools.map(
                |t| json!({"name": t.name, "description": t.description, "inputSchema": t.input_schema()}),
            );
            described.collect::<Value>().to_string()
        }
    })?;
    Ok(Exit::Success)
}
