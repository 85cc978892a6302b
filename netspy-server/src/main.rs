//! `netspy-server`: see `netspy_server` for what it does.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use netspy_server::{
    access::token,
    app,
    cli::{Job, TokenFlags},
    config::{self, ConfigError, Said},
    doctor, logging,
};

fn main() -> ExitCode {
    let said = match config::read(env::args_os()) {
        Ok(said) => said,
        Err(ConfigError::Usage(error)) => error.exit(),
        Err(error) => {
            logging::start(0);
            return failure(&error.into());
        }
    };
    run(said).unwrap_or_else(|error| failure(&error))
}

fn run(said: Said) -> anyhow::Result<ExitCode> {
    match &said.flags.job {
        Some(Job::Doctor(flags)) => {
            logging::start(flags.verbose);
            doctor::run(flags)
        }
        Some(Job::Config(flags)) => print(&config::show(&said.settings, flags.output)?),
        Some(Job::Token(flags)) => {
            logging::start(0);
            make_token(flags)
        }
        None => {
            logging::start(said.flags.serving.verbose);
            app::run(said).map(|()| ExitCode::SUCCESS)
        }
    }
}

fn make_token(flags: &TokenFlags) -> anyhow::Result<ExitCode> {
    let token = token::make(&flags.file, &flags.name, flags.expires)?;
    tracing::info!("the token is shown this once; {} keeps its hash", flags.file.display());
    print(&(token + "\n"))
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn failure(error: &anyhow::Error) -> ExitCode {
    tracing::error!("{error:#}");
    ExitCode::FAILURE
}
