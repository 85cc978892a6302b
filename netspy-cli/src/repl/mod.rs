//! The prompt: reads lines, runs each by the same grammar and tools as the command line, never ends by an error.
//!
//! Standard input that is no terminal is a script: no banner, no prompt, and the worst exit code of its lines.

mod completion;
mod editor;
mod following;
mod hint;
mod line;
mod settings;
mod word;

use std::io::{self, BufRead, IsTerminal};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::cli::Ask;
use crate::output::{self, Exit, Format, Page};
use crate::registry::{Question, ToolError};
use crate::render::escape;
use crate::session::Session;
use crate::waiting::Waiting;
use editor::{Editor, Typed};
use following::Following;
use line::Step;
use settings::Settings;

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
    let greeted = async { tokio::time::timeout(GREETING, greet(session)).await };
    let _ = runtime.block_on(Waiting::new().during(greeted));
    let settings = Settings::new(format);
    if is_interactive { converse(session, settings, runtime) } else { script(session, settings, runtime) }
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

fn converse(session: &Session, mut settings: Settings, runtime: &Runtime) -> io::Result<Exit> {
    let is_coloured = Page::new(session.color).is_coloured;
    let mut editor = Editor::new(session.client.clone(), runtime.handle().clone(), is_coloured)?;
    let mut following: Option<Following> = None;
    loop {
        match editor.read()? {
            Typed::Line(text) => match line::read(&text) {
                Step::Nothing => {}
                Step::Leave => {
                    output::data("Goodbye!")?;
                    return Ok(Exit::Success);
                }
                Step::Stop => stop(following.take()),
                Step::Ask(ask @ Ask::Follow(_), format) => {
                    if let Some(earlier) = following.take().filter(Following::is_going_on) {
                        stop(Some(earlier));
                    }
                    let format = format.or(settings.format).unwrap_or(Format::Text);
                    match followed(&ask, &settings) {
                        Ok(question) => {
                            let (runtime, client) = (runtime.handle(), &session.client);
                            let printer = editor.printer()?;
                            following = Some(Following::start(runtime, client, question, format, printer));
                        }
                        Err(error) => output::words(&format!("Error: {}", escape::text(&error.to_string()))),
                    }
                }
                step => {
                    runtime.block_on(interruptible(line::run(session, &mut settings, step)))?;
                    output::data("")?;
                }
            },
            Typed::Garbled => output::words("Error: the line is not UTF-8"),
            Typed::Interrupted => {
                if let Some(following) = following.take().filter(Following::is_going_on) {
                    stop(Some(following));
                }
            }
            Typed::End => return Ok(Exit::Success),
        }
    }
}

/// What `follow` is to follow, the session's filters included.
fn followed(ask: &Ask, settings: &Settings) -> Result<Question, ToolError> {
    match ask.tool() {
        Some((tool, typed)) => Question::read(tool, settings.complete(tool, typed)),
        None => Ok(Question::default()),
    }
}

fn stop(following: Option<Following>) {
    output::words(match following {
        Some(following) if following.is_going_on() => "Stopped following",
        _ => "Nothing is being followed",
    });
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

fn script(session: &Session, mut settings: Settings, runtime: &Runtime) -> io::Result<Exit> {
    let mut worst = Exit::Success;
    for text in io::stdin().lock().split(b'\n') {
        match line::read(&String::from_utf8_lossy(&text?)) {
            Step::Nothing => {}
            Step::Leave => break,
            step => worst = worst.max(runtime.block_on(line::run(session, &mut settings, step))?),
        }
    }
    Ok(worst)
}
