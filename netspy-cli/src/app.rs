//! The composition root: reads the command line, picks a front, names the exit code.

use std::ffi::OsString;
use std::io;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use netspy_api::Client;
use serde_json::{Map, Value};
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;

use crate::ai::{File, Settings};
use crate::cli::{Cli, Command};
use crate::output::{self, Exit, Format};
use crate::render::escape;
use crate::session::Session;
use crate::{argv, files, install, mcp, registry, repl};

/// Runs netspy with a command line, its own name first.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(argv::normalise(&Cli::command(), arguments)) {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    log_to_stderr(cli.verbose);
    // One thread beside this one, for what goes on while a line is typed.
    let runtime = match Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::words(&format!("Error: cannot start: {error}"));
            return Exit::Failed;
        }
    };
    let exit = dispatch(cli, &runtime);
    // A thread may still be blocked reading standard input; it must not hold the process.
    runtime.shutdown_background();
    exit
}

fn dispatch(cli: Cli, runtime: &Runtime) -> Exit {
    // Not a flag: everybody on this machine can read the arguments of processes.
    let token = std::env::var("NETSPY_TOKEN").ok().filter(|token| !token.is_empty());
    let client = Client::new(cli.server()).and_then(|client| match &token {
        Some(token) => client.with_token(token),
        None => Ok(client),
    });
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            output::words(&format!("Error: {}", escape::text(&error.to_string())));
            return Exit::from(&error);
        }
    };
    tracing::debug!(server = client.address(), "asking");
    let unusual = cli.unusual_server().map(str::to_owned);
    let ai = File::read(files::config().as_deref()).and_then(|file| {
        let variable = |name: &str| std::env::var(name).ok().or_else(|| file.variable(name));
        Settings::read(&cli.ai, variable, files::state())
    });
    let ai = match ai {
        Ok(ai) => ai,
        Err(reason) => {
            output::words(&format!("Error: {}", escape::text(&reason)));
            return Exit::Usage;
        }
    };
    let session = Session { client, color: cli.color, ai };
    match (cli.tool(), cli.command, cli.flags.arguments()) {
        (Some(_), Some(_), _) => misused("--tool and a command cannot be used together"),
        (None, _, stray) if !stray.is_empty() => misused(
            "flags of a tool need --tool before them, or belong after the command: netspy list --pid 42",
        ),
        (Some(tool), None, flags) => {
            let format = cli.output.unwrap_or(Format::Text);
            output::settle(runtime.block_on(session.call(tool, forwarded(tool, &flags), format)))
        }
        (None, Some(Command::Ask(ask)), _) => {
            let format = cli.output.unwrap_or_else(Format::usual);
            output::settle(runtime.block_on(session.ask(&ask, format, |_, typed| typed)))
        }
        (None, Some(Command::Mcp(flags)), _) => {
            runtime.block_on(mcp::run(session.client, session.ai, *flags))
        }
        (None, Some(Command::Install(flags)), _) => output::settle(install::run(&flags, unusual.as_deref())),
        (None, None, _) => output::settle(repl::run(&session, cli.output, runtime)),
    }
}

fn misused(message: &str) -> Exit {
    explain(&Cli::command().error(ErrorKind::ArgumentConflict, message))
}

/// What of the flags the tool takes. `--tool` lists up to 100 events where nothing is said, as it always did.
fn forwarded(tool: &registry::Tool, flags: &Map<String, Value>) -> Map<String, Value> {
    let mut arguments = Map::new();
    if tool.takes("max_events") {
        arguments.insert("max_events".to_owned(), 100.into());
    }
    for (name, value) in flags {
        if tool.takes(name) {
            arguments.insert(name.clone(), value.clone());
        } else {
            output::words(&format!("Note: {} takes no {name}; it is ignored", tool.name));
        }
    }
    arguments
}

/// Help and version are answers; anything else is a mistake in what was typed.
fn explain(error: &clap::Error) -> Exit {
    match error.print() {
        Err(error) => output::settle(Err(error)),
        Ok(()) if error.use_stderr() => Exit::Usage,
        Ok(()) => Exit::Success,
    }
}

fn log_to_stderr(verbose: bool) {
    let filter = EnvFilter::new(if verbose { "netspy=debug,netspy_cli=debug,rmcp=info" } else { "error" });
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).init();
}
