//! `netspy-server`: see `netspy_server` for what it does.

use std::process::ExitCode;

use netspy_server::{
    app,
    cli::{Flags, Job},
    doctor, logging,
};

fn main() -> ExitCode {
    let flags = Flags::from_command_line();
    let result = match &flags.job {
        Some(Job::Doctor(flags)) => {
            logging::start(flags.verbose);
            doctor::run(flags)
        }
        None => {
            logging::start(flags.verbose);
            app::run(&flags).map(|()| ExitCode::SUCCESS)
        }
    };
    result.unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::FAILURE
    })
}
