//! Where text goes and what the process says by its exit code.
//!
//! Data goes to standard output, words about it to standard error. A reader that has seen enough
//! (`netspy list | head`) closes the pipe: that is success.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use netspy_api::ClientError;

use crate::registry::ToolError;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object on one line, with everything the text says and more.
    Json,
    /// One JSON object per row of a list, each on a line.
    Ndjson,
    /// The rows of a list, with their names in the first line (RFC 4180).
    Csv,
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
            ClientError::Denied { .. } => Exit::Denied,
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
