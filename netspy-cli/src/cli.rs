//! The one grammar of what can be typed: on the command line and at the prompt of the REPL.
//!
//! Flags only say what was typed. What a value may be is the tool's business (`registry::arguments`), so that
//! every front answers the same way to the same mistake.

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{ArgAction, Args, Parser, Subcommand};
use serde_json::{Map, Value};

use crate::output::Format;
use crate::registry::{self, Tool};

const DEFAULT_SERVER: &str = "http://localhost:8080";

/// Ask which process talks to whom, what fails, what is dropped, and why.
///
/// Without a command or --tool, netspy is interactive; with standard input from a file or a pipe, it runs
/// each line of it as a command.
#[derive(Debug, Parser)]
#[command(name = "netspy", version, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Address of netspy-server
    #[arg(long, global = true, value_name = "URL", env = "NETSPY_SERVER", hide_env_values = true)]
    #[arg(default_value = DEFAULT_SERVER, display_order = 101)]
    server: String,
    /// Say on standard error what is being done
    #[arg(short, long, global = true, num_args = 0..=1, require_equals = true, hide_possible_values = true)]
    #[arg(action = ArgAction::Set, default_value = "false", default_missing_value = "true", value_name = "BOOL")]
    #[arg(hide_default_value = true, display_order = 102)]
    pub(crate) verbose: bool,
    /// How to write the answer
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "text", display_order = 100)]
    pub(crate) output: Format,
    /// Run one tool and exit
    #[arg(long, value_parser = tool_names())]
    tool: Option<String>,
    #[command(flatten)]
    pub(crate) flags: ToolFlags,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

const EXIT_CODES: &str =
    "Exit codes: 0 answered, 1 the tool failed, 2 usage, 3 server unreachable, 4 access denied";

impl Cli {
    /// An empty address, from the environment perhaps, is no address.
    pub(crate) fn server(&self) -> &str {
        if self.server.is_empty() { DEFAULT_SERVER } else { &self.server }
    }

    /// The tool that was named.
    pub(crate) fn tool(&self) -> Option<&'static Tool> {
        self.tool.as_deref().and_then(registry::find)
    }
}

/// The empty name is none, as it was for the earlier netspy.
fn tool_names() -> PossibleValuesParser {
    let named = registry::TOOLS.iter().map(|tool| PossibleValue::new(tool.name));
    PossibleValuesParser::new(named.chain([PossibleValue::new("").hide(true)]))
}

/// Commands of the command line.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Ask(Ask),
    /// Serve the tools to an AI agent: MCP over standard input and output
    Mcp,
}

/// One line typed at the prompt.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, name = "", disable_help_subcommand = true)]
pub(crate) struct Line {
    /// How to write the answer
    #[arg(short, long, global = true, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
    #[command(subcommand)]
    pub(crate) command: LineCommand,
}

/// Commands of the prompt.
#[derive(Debug, Subcommand)]
pub(crate) enum LineCommand {
    #[command(flatten)]
    Ask(Ask),
    /// Show this help message
    Help {
        /// A command to explain
        command: Option<String>,
    },
    /// Exit interactive mode
    #[command(alias = "exit")]
    Quit,
}

/// Commands that are answered, wherever they are typed.
#[derive(Debug, Subcommand)]
pub(crate) enum Ask {
    /// Get network connection summary
    Summary(WindowFlags),
    /// List recent connections
    List(ListFlags),
    /// Get packet drop summary
    Dropsummary(WindowFlags),
    /// List recent packet drops
    Droplist(ListFlags),
    /// Analyze connection patterns
    Analyze(WindowFlags),
    /// Show available MCP tools
    Tools,
}

impl Ask {
    /// The tool that answers, with its arguments; none where the registry itself is the answer.
    pub(crate) fn tool(&self) -> Option<(&'static Tool, Map<String, Value>)> {
        let (name, arguments) = match self {
            Ask::Summary(flags) => ("get_network_summary", flags.arguments()),
            Ask::List(flags) => ("list_connections", flags.arguments()),
            Ask::Dropsummary(flags) => ("get_packet_drop_summary", flags.arguments()),
            Ask::Droplist(flags) => ("list_packet_drops", flags.arguments()),
            Ask::Analyze(flags) => ("analyze_patterns", flags.arguments()),
            Ask::Tools => return None,
        };
        registry::find(name).map(|tool| (tool, arguments))
    }
}

#[derive(Args, Debug)]
pub(crate) struct WindowFlags {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    window: Window,
}

#[derive(Args, Debug)]
pub(crate) struct ListFlags {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    length: Length,
}

/// Flags of `--tool`: those of every tool.
#[derive(Args, Debug)]
pub(crate) struct ToolFlags {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    window: Window,
    #[command(flatten)]
    length: Length,
}

#[derive(Args, Debug)]
struct Target {
    /// Only this process id; 0 for any
    #[arg(long, allow_negative_numbers = true)]
    pid: Option<i64>,
    /// Only processes of this name; empty for any
    // A login shell is called `-bash`.
    #[arg(long, value_name = "NAME", aliases = ["process-name", "process_name"], allow_hyphen_values = true)]
    process: Option<String>,
}

#[derive(Args, Debug)]
struct Window {
    /// Seconds to look back; 0 for 60
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    duration: Option<i64>,
}

#[derive(Args, Debug)]
struct Length {
    /// Most events to show; 0 for 10 (with --tool, 100 if not given)
    #[arg(long, value_name = "COUNT", alias = "max_events", allow_negative_numbers = true)]
    max_events: Option<i64>,
}

impl WindowFlags {
    fn arguments(&self) -> Map<String, Value> {
        given([self.target.pid(), self.target.process_name(), self.window.argument()])
    }
}

impl ListFlags {
    fn arguments(&self) -> Map<String, Value> {
        given([self.target.pid(), self.target.process_name(), self.length.argument()])
    }
}

impl ToolFlags {
    pub(crate) fn arguments(&self) -> Map<String, Value> {
        let Self { target, window, length } = self;
        given([target.pid(), target.process_name(), window.argument(), length.argument()])
    }
}

type Argument = (&'static str, Option<Value>);

impl Target {
    fn pid(&self) -> Argument {
        ("pid", self.pid.map(Value::from))
    }

    fn process_name(&self) -> Argument {
        ("process_name", self.process.clone().map(Value::from))
    }
}

impl Window {
    fn argument(&self) -> Argument {
        ("duration", self.duration.map(Value::from))
    }
}

impl Length {
    fn argument(&self) -> Argument {
        ("max_events", self.max_events.map(Value::from))
    }
}

fn given<const N: usize>(arguments: [Argument; N]) -> Map<String, Value> {
    arguments.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
