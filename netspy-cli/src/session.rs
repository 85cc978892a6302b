//! Calling a tool for a person or a script: shared by the one-shots and the REPL.

use std::io;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use netspy_api::Client;
use serde_json::{Map, Value, json};

use crate::ai::Settings;
use crate::cli::Ask;
use crate::follow;
use crate::output::{self, Color, Exit, Format, Page};
use crate::registry::{self, Answer, Context, Tool};
use crate::render::escape;
use crate::render::rows::Rows;
use crate::render::table::table;
use crate::top;
use crate::waiting::Waiting;

/// A server to ask, and how its answers are shown.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) color: Color,
    pub(crate) ai: Settings,
}

impl Session {
    /// Answers one command; `complete` adds to its arguments what was set before.
    pub(crate) async fn ask(
        &self,
        ask: &Ask,
        format: Format,
        complete: impl Fn(&Tool, Map<String, Value>) -> Map<String, Value>,
    ) -> io::Result<Exit> {
        let Some((tool, typed)) = ask.tool() else { return tools(format) };
        let arguments = complete(tool, typed);
        match ask {
            Ask::Follow(_) => follow::run(&self.client, tool, arguments, format).await,
            Ask::Top(_) => top::run(&self.client, tool, arguments, self.color).await,
            _ => self.call(tool, arguments, format).await,
        }
    }

    /// Calls one tool and writes its answer.
    pub(crate) async fn call(
        &self,
        tool: &Tool,
        arguments: Map<String, Value>,
        format: Format,
    ) -> io::Result<Exit> {
        tracing::debug!(tool = tool.name, ?arguments, "calling");
        let waiting = Waiting::new();
        let progress = |step: &_| waiting.step(step);
        let context = Context { client: &self.client, ai: &self.ai, progress: &progress, tokens: None };
        let outcome = waiting.during(tool.call(&context, arguments)).await;
        match outcome {
            Ok(answer) => self.write(tool, &answer, format).map(|()| Exit::Success),
            Err(error) => {
                output::words(&format!("Error: {}", escape::text(&error.to_string())));
                Ok(Exit::from(&error))
            }
        }
    }

    /// Data to standard output; what is to be remarked about mere rows to standard error.
    fn write(&self, tool: &Tool, answer: &Answer, format: Format) -> io::Result<()> {
        let list = Rows::of_list(&answer.value);
        let (text, remarks) = match (format, list) {
            (Format::Table | Format::Wide, Some(list)) => {
                let page = Page::new(self.color);
                // The server's clock, which stands still where it replays a recording.
                let now = answer.value["query_time"].as_str().and_then(|time| time.parse().ok());
                let now = now.unwrap_or_else(Timestamp::now);
                let table = table(&list, format == Format::Wide, page, now, &TimeZone::system());
                (if list.rows.is_empty() { String::new() } else { table }, &answer.remarks[..])
            }
            (Format::Text | Format::Table | Format::Wide, _) => (answer.text.clone(), &[][..]),
            (Format::Ndjson, Some(list)) => (list.ndjson(), &answer.remarks[..]),
            (Format::Json | Format::Ndjson, _) => (escape::json(&answer.value), &[][..]),
            (Format::Csv, _) => {
                (Rows::of_answer(&answer.value, &tool.output_schema()).csv(), &answer.remarks[..])
            }
        };
        if !text.is_empty() {
            output::data(&text)?;
        }
        let is_table = matches!(format, Format::Table | Format::Wide);
        for remark in remarks.iter().filter(|remark| is_table || remark.is_notice()) {
            output::words(remark.text());
        }
        Ok(())
    }
}

fn tools(format: Format) -> io::Result<Exit> {
    let described = |tool: &Tool| json!({"name": tool.name, "description": tool.description, "inputSchema": tool.input_schema()});
    let tools = registry::TOOLS.iter();
    output::data(&match format {
        Format::Text | Format::Table | Format::Wide => {
            let mut lines = vec!["Available MCP Tools:".to_owned()];
            lines.extend(tools.map(|tool| format!("• {}: {}", tool.name, tool.description)));
            lines.join("\n")
        }
        Format::Json => tools.map(described).collect::<Value>().to_string(),
        Format::Ndjson => tools.map(|tool| described(tool).to_string()).collect::<Vec<_>>().join("\n"),
        Format::Csv => {
            let columns = ["name", "description"].map(str::to_owned).to_vec();
            let row = |tool: &Tool| vec![tool.name.into(), tool.description.into()];
            Rows { columns, rows: tools.map(row).collect() }.csv()
        }
    })?;
    Ok(Exit::Success)
}
