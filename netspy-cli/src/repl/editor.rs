//! The line editor: prompt, history, and a way to print above the prompt. With `completion` and `hint`, the only
//! place that knows rustyline.

use std::cell::RefCell;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use netspy_api::Client;
use rustyline::ExternalPrinter;
use rustyline::config::{CompletionType, Config};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use tokio::runtime::Handle;

use super::completion::Completion;
use crate::files;

const PROMPT: &str = "netspy-mcp> ";
const LONGEST_HISTORY: usize = 1000;

/// What came from the keyboard.
pub(super) enum Typed {
    Line(String),
    /// Bytes that are not UTF-8.
    Garbled,
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D.
    End,
}

pub(super) struct Editor {
    inner: rustyline::Editor<Completion, FileHistory>,
    /// None where there is no place for it.
    history: Option<PathBuf>,
}

/// Prints above the line that is being typed, from any thread.
pub(super) struct Printer(Box<dyn ExternalPrinter + Send>);

impl Printer {
    /// Prints a line.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        self.0.print(format!("{text}\n")).map_err(io::Error::other)
    }
}

impl Editor {
    /// Values to complete are asked of the server, by that runtime.
    pub(super) fn new(client: Client, runtime: Handle, is_coloured: bool) -> io::Result<Self> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .max_history_size(LONGEST_HISTORY)
            .and_then(|builder| builder.history_ignore_dups(true))
            .map_err(io::Error::other)?
            .build();
        let mut inner = rustyline::Editor::with_config(config).map_err(io::Error::other)?;
        inner.set_helper(Some(Completion { client, runtime, is_coloured, seen: RefCell::default() }));
        let history = files::state().map(|directory| directory.join("history"));
        if let Some(file) = &history {
            // The first time there is none.
            let _ = inner.load_history(file);
        }
        Ok(Self { inner, history })
    }

    /// Something to print with while a line is typed.
    pub(super) fn printer(&mut self) -> io::Result<Printer> {
        let printer = self.inner.create_external_printer().map_err(io::Error::other)?;
        Ok(Printer(Box::new(printer)))
    }

    /// Prompts and waits.
    pub(super) fn read(&mut self) -> io::Result<Typed> {
        match self.inner.readline(PROMPT) {
            Ok(line) => {
                self.remember(&line);
                Ok(Typed::Line(line))
            }
            Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => Ok(Typed::Interrupted),
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => Ok(Typed::Garbled),
            Err(ReadlineError::Io(error)) => Err(error),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Written line by line, so that a killed session loses nothing. A home that cannot be written to is no
    /// reason to complain: the session's own history still works.
    fn remember(&mut self, line: &str) {
        if line.trim().is_empty() || !self.inner.add_history_entry(line).unwrap_or_default() {
            return;
        }
        if let Some(file) = &self.history {
            if let Some(directory) = file.parent() {
                let _ = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
            }
            let _ = self.inner.append_history(file);
        }
    }
}
