//! `netspy-server`: see `netspy_server` for what it does.

use std::process::ExitCode;

use netspy_server::{app, cli::Flags, logging};

fn main() -> ExitCode {
    let flags = Flags::from_command_line();
    logging::start(flags.verbose);
    match app::run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
