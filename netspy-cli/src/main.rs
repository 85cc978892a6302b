//! `netspy`: ask which process talks to whom, what fails, what is dropped, and why.

mod app;
mod argv;
mod cli;
mod mcp;
mod output;
mod registry;
mod render;
mod repl;
mod session;

use std::process::ExitCode;

fn main() -> ExitCode {
    app::run(std::env::args_os()).into()
}
