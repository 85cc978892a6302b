//! The prompt: reads lines, runs each by the same grammar and tools as the command line, never ends by an error.
//!
//! Standard input that is no terminal is a script: no banner, no prompt, and the worst exit code of its lines.

mod completion;
mod editor;
mod line;

use std::io::{self, BufRead, IsTerminal};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::output::{self, Exit, Format};
use crate::render::escape;
use crate::session::Session;
use editor::{Editor, Typed};
use line::Step;

const BANNER: &str = "🔗 Network Telemetry MCP Server
Starting interactive mode...

🔗 Network Telemetry MCP Interactive Mode
=========================================
";

/// How long the first word of the server is waited for.
const GREETING: Duration = Duration::from_secs(3);

/// Runs until the input ends.
pub(crate) fn run(session: &Session, format: Option<Format>, runtime: &Runtime) -> io::Result<Exit> {
    let is_interactive = io::stdin().is_terminal();
    if is_interactive {
        output::data(&format!("{BANNER}\n{}\n", line::commands()))?;
    }
    // A server that hangs must not keep the prompt away.
    let _ = runtime.block_on(async { tokio::time::timeout(GREETING, greet(session)).await });
    // What the earlier netspy wrote here, unless somebody says otherwise.
    let format = format.unwrap_or(Format::Text);
    if is_interactive { converse(session, format, runtime) } else { script(session, format, runtime) }
}

/// Says at once what would otherwise be found out command by command.
async fn greet(session: &Session) {
    match session.client.health().await {
        Ok(health) if health.status == "degraded" => {
            let idle = health.programs.iter().filter(|program| program.status != "active");
            let idle: Vec<_> = idle.map(|p| format!("{} {}: {}", p.name, p.status, p.note)).collect();
            let idle = escape::text(&idle.join("; ")).into_owned();
            output::words(&format!("Warning: the server is degraded. {idle}"));
        }
        Ok(_) => tracing::debug!(server = session.client.address(), "healthy"),
        Err(error) => output::words(&format!("Warning: {}", escape::text(&error.to_string()))),
    }
}

fn converse(session: &Session, format: Format, runtime: &Runtime) -> io::Result<Exit> {
    let mut editor = Editor::new()?;
    loop {
        match editor.read()? {
            Typed::Line(text) => match line::read(&text) {
                Step::Nothing => {}
                Step::Leave => {
                    output::data("Goodbye!")?;
                    return Ok(Exit::Success);
                }
                step => {
                    runtime.block_on(interruptible(line::run(session, format, step)))?;
                    output::data("")?;
                }
            },
            Typed::Garbled => output::words("Error: the line is not UTF-8"),
            Typed::Interrupted => {}
            Typed::End => return Ok(Exit::Success),
        }
    }
}

/// Ctrl-C gives up the command, not the session.
async fn interruptible(command: impl Future<Output = io::Result<Exit>>) -> io::Result<Exit> {
    tokio::select! {
        done = command => done,
        _ = tokio::signal::ctrl_c() => {
            output::words("Interrupted");
            Ok(Exit::Failed)
        }
    }
}

fn script(session: &Session, format: Format, runtime: &Runtime) -> io::Result<Exit> {
    let mut worst = Exit::Success;
    for text in io::stdin().lock().split(b'\n') {
        match line::read(&String::from_utf8_lossy(&text?)) {
            Step::Nothing => {}
            Step::Leave => break,
            step => worst = worst.max(runtime.block_on(line::run(session, format, step))?),
        }
    }
    Ok(worst)
}
