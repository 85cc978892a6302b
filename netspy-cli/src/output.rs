//! Where text goes and what the process says by its exit code.
//!
//! Data goes to standard output, words about it to standard error. A reader that has seen enough
//! (`netspy list | head`) closes the pipe: that is success.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use netspy_api::ClientError;
use ratatui::crossterm::terminal;

use crate::registry::ToolError;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Sentences and rows, as the earlier netspy wrote them.
    Text,
    /// The rows of a list in columns, as wide as the terminal; other answers as text.
    Table,
    /// The same with every column, uncut.
    Wide,
    /// One JSON object on one line, with everything the text says and more.
    Json,
    /// One JSON object per row of a list, each on a line; other answers as json.
    Ndjson,
    /// The rows of an answer, with their names in the first line (RFC 4180).
    Csv,
}

impl Format {
    /// What it is called.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// How a command's answer is written where nobody said: for whoever reads it.
    pub(crate) fn usual() -> Self {
        if io::stdout().is_terminal() { Format::Table } else { Format::Ndjson }
    }
}

/// Whether to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal that has them, unless `NO_COLOR` is set.
    Auto,
    Always,
    Never,
}

/// What standard output can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Columns; none where nothing limits a line.
    pub(crate) width: Option<u16>,
    pub(crate) is_coloured: bool,
}

/// Columns of a terminal that does not say how many it has.
const UNKNOWN_WIDTH: u16 = 80;

impl Page {
    /// As it is now: a window may have changed its size.
    pub(crate) fn new(color: Color) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let is_willing = set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb");
        let size = || terminal::size().ok().map(|(columns, _)| columns).filter(|columns| *columns > 0);
        Self {
            width: is_terminal.then(|| size().unwrap_or(UNKNOWN_WIDTH)),
            is_coloured: match color {
                Color::Auto => is_terminal && is_willing,
                Color::Always => true,
                Color::Never => false,
            },
        }
    }
}

/// How it went, worst last: a script of several commands ends with the worst of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    Success = 0,
    /// The tool failed.
    Failed = 1,
    /// What was typed makes no sense.
    Usage = 2,
    /// Nobody answers at the server's address.
    Unreachable = 3,
    /// The server does not let us in.
    Denied = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

impl From<&ToolError> for Exit {
    fn from(error: &ToolError) -> Self {
        match error {
            ToolError::Arguments { .. } => Exit::Usage,
            ToolError::Client(error) => error.into(),
        }
    }
}

impl From<&ClientError> for Exit {
    fn from(error: &ClientError) -> Self {
        match error {
            ClientError::BadUrl { .. } => Exit::Usage,
            ClientError::Unreachable { .. } => Exit::Unreachable,
            ClientError::Denied { .. } | ClientError::NotForThisUser(_) => Exit::Denied,
            ClientError::Status { .. } | ClientError::Malformed { .. } => Exit::Failed,
        }
    }
}

/// Writes data and a line end to standard output.
pub(crate) fn data(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Writes words and a line end to standard error. That nobody can read them is no reason to stop.
pub(crate) fn words(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// What a finished (or broken off) run of writes means for the exit code.
pub(crate) fn settle(result: io::Result<Exit>) -> Exit {
    match result {
        Ok(exit) => exit,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
        Err(error) => {
            words(&format!("Error: cannot write the answer: {error}"));
            Exit::Failed
        }
    }
}
