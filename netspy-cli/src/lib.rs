//! `netspy`: ask which process talks to whom, what fails, what is dropped, and why.
//!
//! A library only so that tests can put another handler behind the production HTTP router of `mcp`.

mod ai;
mod app;
mod argv;
mod cli;
mod digest;
mod files;
mod follow;
mod install;
pub mod mcp;
mod output;
mod registry;
mod render;
mod repl;
mod session;
mod top;
mod waiting;

use std::ffi::OsString;
use std::process::ExitCode;

/// The command line as clap knows it; for its man pages and completions.
pub fn command_line() -> clap::Command {
    <cli::Cli as clap::CommandFactory>::command()
}

/// Runs netspy with a command line, its own name first.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    app::run(arguments).into()
}
