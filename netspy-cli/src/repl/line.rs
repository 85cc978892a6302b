//! One line: words as a shell would split them, a command as the grammar has it, its run.

use std::ffi::OsString;
use std::io;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory, Parser};

use super::settings::Settings;
use crate::argv;
use crate::cli::{Ask, Line, LineCommand, SetFlags};
use crate::output::{self, Exit, Format};
use crate::render::escape;
use crate::session::Session;

/// What a line asks for.
pub(super) enum Step {
    /// It is blank, or a comment.
    Nothing,
    Leave,
    Ask(Ask, Option<Format>),
    Set(SetFlags, Option<Format>),
    Unset(Vec<String>),
    /// Show what is set.
    Settings,
    /// End what is followed.
    Stop,
    /// To be shown: help, on standard output.
    Show(String),
    /// To be shown: a mistake, on standard error.
    Mistake(String),
}

/// Understands a line.
pub(super) fn read(text: &str) -> Step {
    let Some(words) = shlex::split(text) else {
        return Step::Mistake("Error: a quote is not closed, or the line ends in a backslash".to_owned());
    };
    let Some(first) = words.first().cloned() else { return Step::Nothing };
    let words: Vec<OsString> = argv::normalise(&Line::command(), words.into_iter());
    match Line::try_parse_from(words) {
        Ok(Line { command: LineCommand::Ask(ask), output }) => Step::Ask(ask, output),
        Ok(Line { command: LineCommand::Set(flags), output }) => Step::Set(*flags, output),
        Ok(Line { command: LineCommand::Unset { names }, .. }) => Step::Unset(names),
        Ok(Line { command: LineCommand::Show, .. }) => Step::Settings,
        Ok(Line { command: LineCommand::Stop, .. }) => Step::Stop,
        Ok(Line { command: LineCommand::Help { command }, .. }) => help(command.as_deref()),
        Ok(Line { command: LineCommand::Quit, .. }) => Step::Leave,
        Err(error) if error.kind() == ErrorKind::InvalidSubcommand => unknown(&first),
        Err(error) if error.use_stderr() => Step::Mistake(error.to_string().trim_end().to_owned()),
        Err(error) => Step::Show(error.to_string().trim_end().to_owned()),
    }
}

/// Does what was understood.
pub(super) async fn run(session: &Session, settings: &mut Settings, step: Step) -> io::Result<Exit> {
    match step {
        Step::Ask(ask, format) => {
            // The prompt writes what the earlier netspy wrote there, unless somebody says otherwise.
            let format = format.or(settings.format).unwrap_or(Format::Text);
            session.ask(&ask, format, |tool, typed| settings.complete(tool, typed)).await
        }
        Step::Set(flags, format) => match settings.set(&flags, format) {
            Ok(()) => Ok(confirmed(settings)),
            Err(reason) => {
                output::words(&format!("Error: {}", escape::text(&reason)));
                Ok(Exit::Usage)
            }
        },
        Step::Unset(names) => {
            settings.unset(&names);
            Ok(confirmed(settings))
        }
        Step::Settings => output::data(&settings.shown()).map(|()| Exit::Success),
        Step::Show(text) => output::data(&text).map(|()| Exit::Success),
        Step::Mistake(text) => {
            output::words(&text);
            Ok(Exit::Usage)
        }
        Step::Nothing | Step::Leave | Step::Stop => Ok(Exit::Success),
    }
}

/// What is set now, which nobody asked for: words.
fn confirmed(settings: &Settings) -> Exit {
    output::words(&settings.shown());
    Exit::Success
}

/// The block of commands that the banner and `help` show.
pub(super) fn commands() -> String {
    let mut lines = vec!["Available commands:".to_owned()];
    for command in Line::command().get_subcommands() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let name = if command.get_name() == "quit" { "quit/exit" } else { command.get_name() };
        lines.push(format!("  {name:<12} - {about}"));
    }
    lines.join("\n")
}

fn help(command: Option<&str>) -> Step {
    let Some(name) = command else { return Step::Show(commands()) };
    let mut grammar: Command = Line::command();
    grammar.build();
    match grammar.find_subcommand_mut(name) {
        Some(command) => Step::Show(command.render_long_help().to_string().trim_end().to_owned()),
        None => unknown(name),
    }
}

fn unknown(command: &str) -> Step {
    Step::Mistake(format!(
        "Error: unknown command: {} (type 'help' for available commands)",
        escape::text(command)
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn asked(text: &str) -> (&'static str, Value) {
        match read(text) {
            Step::Ask(ask, _) => ask.tool().map(|(tool, arguments)| (tool.name, arguments.into())).unwrap(),
            _ => panic!("{text}"),
        }
    }

    #[test]
    fn words_are_split_as_by_a_shell() {
        let arguments = json!({"process_name": "my app", "duration": 5});
        assert_eq!(asked(r#"summary --process "my app" -duration 5"#), ("get_network_summary", arguments));
        assert_eq!(asked("list --process -bash").1, json!({"process_name": "-bash"}));
        assert_eq!(asked("droplist --max_events 3").1, json!({"max_events": 3}));
    }

    #[test]
    fn blank_lines_and_comments_are_nothing() {
        for text in ["", "   ", "\t", "# a comment"] {
            assert!(matches!(read(text), Step::Nothing), "{text:?}");
        }
    }

    #[test]
    fn both_words_leave() {
        assert!(matches!(read("quit"), Step::Leave) && matches!(read(" exit "), Step::Leave));
    }

    #[test]
    fn mistakes_are_named() {
        let mistake = |text: &str| match read(text) {
            Step::Mistake(said) => said,
            _ => panic!("{text}"),
        };
        assert_eq!(
            mistake("foo\x1b x"),
            "Error: unknown command: foo\\x1b (type 'help' for available commands)"
        );
        assert_eq!(mistake("help foo"), "Error: unknown command: foo (type 'help' for available commands)");
        assert!(mistake("list 'x").contains("quote is not closed"));
        assert!(mistake("list --duration 5").contains("--duration"));
    }
}
