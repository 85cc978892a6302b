//! What is set for the whole session: filters and the format, added to every command that takes them.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::word::quoted;
use crate::cli::SetFlags;
use crate::output::Format;
use crate::registry::{Question, Tool};
use crate::render::escape;

#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) format: Option<Format>,
    /// By the tools' names for them.
    filters: Map<String, Value>,
}

/// Both say how far to look back: one replaces the other.
const WINDOW: [&str; 2] = ["duration", "since"];

impl Settings {
    /// Settings of a session that was started with a format, perhaps.
    pub(super) fn new(format: Option<Format>) -> Self {
        Self { format, filters: Map::new() }
    }

    /// Takes over what was typed; a mistake in it changes nothing.
    pub(super) fn set(&mut self, flags: &SetFlags, format: Option<Format>) -> Result<(), String> {
        let typed = flags.arguments();
        if typed.is_empty() && format.is_none() {
            return Err("set takes what commands take, such as: set --process curl -o table".to_owned());
        }
        Question::check(typed.clone())?;
        self.filters.retain(|name, _| !is_replaced(name, &typed));
        self.filters.extend(typed);
        self.format = format.or(self.format);
        Ok(())
    }

    /// Forgets what is named, or everything. Names are those of flags.
    pub(super) fn unset(&mut self, names: &[String]) {
        if names.is_empty() {
            *self = Self::default();
        }
        for name in names {
            match name.as_str() {
                "output" => self.format = None,
                flag => self.filters.retain(|argument, _| self::flag(argument) != flag),
            }
        }
    }

    /// What a command says, completed by what is set; what was typed wins.
    pub(super) fn complete(&self, tool: &Tool, typed: Map<String, Value>) -> Map<String, Value> {
        let wanted = self.filters.iter().filter(|(name, _)| tool.takes(name) && !is_replaced(name, &typed));
        let mut arguments: Map<_, _> = wanted.map(|(name, value)| (name.clone(), value.clone())).collect();
        arguments.extend(typed);
        arguments
    }

    /// As one would type it; safe to write to a terminal.
    pub(super) fn shown(&self) -> String {
        let mut shown = "set".to_owned();
        for (name, value) in &self.filters {
            let value = value.as_str().map_or_else(|| value.to_string(), quoted);
            // Writing to a String cannot fail.
            let _ = match value.as_str() {
                "true" => write!(shown, " --{}", flag(name)),
                value => write!(shown, " --{} {}", flag(name), escape::text(value)),
            };
        }
        if let Some(format) = self.format {
            let _ = write!(shown, " -o {}", format.name());
        }
        if shown == "set" {
            "Nothing is set; for example: set --process curl -o table".to_owned()
        } else {
            shown
        }
    }
}

fn is_replaced(name: &str, by: &Map<String, Value>) -> bool {
    by.contains_key(name) || WINDOW.contains(&name) && WINDOW.iter().any(|other| by.contains_key(*other))
}

/// What the flag of an argument is called.
fn flag(argument: &str) -> String {
    if argument == "process_name" { "process".to_owned() } else { argument.replace('_', "-") }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Line, LineCommand};
    use crate::registry;

    fn set(settings: &mut Settings, line: &str) -> Result<(), String> {
        match Line::try_parse_from(shlex::split(line).unwrap()).unwrap() {
            Line { command: LineCommand::Set(flags), output } => settings.set(&flags, output),
            _ => panic!("{line}"),
        }
    }

    fn complete(settings: &Settings, tool: &str, typed: &Value) -> Value {
        settings.complete(registry::find(tool).unwrap(), typed.as_object().unwrap().clone()).into()
    }

    #[test]
    fn commands_are_completed_by_what_they_take() {
        use serde_json::json;
        let mut settings = Settings::default();
        set(&mut settings, "set --process 'my app' --failed --since 10m -o csv").unwrap();
        assert_eq!(
            complete(&settings, "list_connections", &json!({"max_events": 3})),
            json!({"process_name": "my app", "failed": true, "since": "10m", "max_events": 3})
        );
        assert_eq!(complete(&settings, "get_status", &json!({})), json!({}));
        // What is typed wins, and of the two windows there is only one.
        assert_eq!(
            complete(&settings, "analyze_patterns", &json!({"process_name": "sh", "duration": 5})),
            json!({"failed": true, "process_name": "sh", "duration": 5})
        );
        assert_eq!(settings.shown(), "set --process 'my app' --failed --since 10m -o csv");
        set(&mut settings, "set --duration 30").unwrap();
        assert!(settings.shown().contains("--duration 30") && !settings.shown().contains("since"));
        settings.unset(&["process".to_owned(), "output".to_owned()]);
        assert_eq!(settings.shown(), "set --failed --duration 30");
        settings.unset(&[]);
        assert!(settings.shown().starts_with("Nothing is set"));
    }

    #[test]
    fn a_mistake_changes_nothing() {
        let mut settings = Settings::default();
        set(&mut settings, "set --port 80").unwrap();
        assert!(set(&mut settings, "set").unwrap_err().contains("such as: set --process"));
        assert!(
            set(&mut settings, "set --to nowhere --port 81").unwrap_err().contains("to takes an address")
        );
        assert_eq!(settings.shown(), "set --port 80");
    }
}
