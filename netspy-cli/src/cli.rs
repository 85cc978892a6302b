//! The one grammar of what can be typed: on the command line and at the prompt of the REPL.
//!
//! Flags only say what was typed. What a value may be is the tool's business (`registry::arguments`), so that
//! every front answers the same way to the same mistake.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use serde_json::{Map, Value};

use crate::ai::AiFlags;
use crate::install::InstallFlags;
use crate::output::{Color, Format};
use crate::registry::{self, Tool};

const DEFAULT_SERVER: &str = "http://localhost:8080";
const DEFAULT_HTTP: &str = "127.0.0.1:8000";

const SERVER_HELP: &str =
    "Address of netspy-server: http://HOST:PORT, or unix:/PATH; NETSPY_TOKEN is its token, if it wants one";

/// Ask which process talks to whom, what fails, what is dropped, and why.
///
/// Without a command or --tool, netspy is interactive; with standard input from a file or a pipe, it runs
/// each line of it as a command.
#[derive(Debug, Parser)]
#[command(name = "netspy", version, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[arg(long, global = true, value_name = "URL", env = "NETSPY_SERVER", hide_env_values = true, help = SERVER_HELP)]
    #[arg(default_value = DEFAULT_SERVER, display_order = 101)]
    server: String,
    /// Say on standard error what is being done
    #[arg(short, long, global = true, num_args = 0..=1, require_equals = true, hide_possible_values = true)]
    #[arg(action = ArgAction::Set, default_value = "false", default_missing_value = "true", value_name = "BOOL")]
    #[arg(hide_default_value = true, display_order = 102)]
    pub(crate) verbose: bool,
    /// How to write the answer; if not given, a command writes a table on a terminal and ndjson elsewhere,
    /// --tool and the prompt write text
    #[arg(short, long, global = true, value_name = "FORMAT", display_order = 100)]
    pub(crate) output: Option<Format>,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", display_order = 100)]
    pub(crate) color: Color,
    /// Run one tool and exit
    #[arg(long, value_parser = tool_names())]
    tool: Option<String>,
    #[command(flatten)]
    pub(crate) flags: ToolFlags,
    #[command(flatten)]
    pub(crate) ai: AiFlags,
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

    /// The address if it is not the usual one.
    pub(crate) fn unusual_server(&self) -> Option<&str> {
        Some(self.server()).filter(|server| *server != DEFAULT_SERVER)
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
    /// Serve the tools to AI agents: MCP over standard input and output, or over HTTP
    Mcp(Box<McpFlags>),
    /// Enter netspy into the settings of an AI client
    Install(InstallFlags),
}

/// How the tools are served.
#[derive(Args, Debug)]
pub(crate) struct McpFlags {
    /// Serve MCP over HTTP at this address, path /mcp, instead of standard input and output
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = DEFAULT_HTTP)]
    pub(crate) http: Option<SocketAddr>,
    /// Serve only these tools
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = tool_names())]
    pub(crate) tools: Vec<String>,
    /// Serve only these sets of tools
    #[arg(long, value_name = "SETS", value_delimiter = ',')]
    pub(crate) toolsets: Vec<Toolset>,
    #[command(flatten)]
    pub(crate) access: AccessFlags,
    #[command(subcommand)]
    pub(crate) command: Option<McpCommand>,
}

/// Tools that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Toolset {
    /// What is recorded, and what happens now
    Core,
    /// What may ask a model
    Ai,
}

/// Who may call over HTTP.
#[derive(Args, Debug)]
pub(crate) struct AccessFlags {
    /// Only callers with a token of this file (made by `netspy mcp token`)
    #[arg(long, value_name = "FILE", requires = "http")]
    pub(crate) token_file: Option<PathBuf>,
    /// Only callers with a token of this OAuth authorization server, for this resource (RFC 9728)
    #[arg(long, value_name = "URL", requires = "http")]
    pub(crate) oauth_issuer: Option<reqwest::Url>,
    /// What tokens must be made out to, if not the address that is served: the URL that clients use
    #[arg(long, value_name = "URL", requires = "oauth_issuer")]
    pub(crate) oauth_resource: Option<reqwest::Url>,
    /// Also answer requests for this host name (HOST or HOST:PORT)
    #[arg(long, value_name = "HOST", value_delimiter = ',', requires = "http")]
    pub(crate) allow_host: Vec<String>,
    /// Also answer web pages of this origin, such as `https://HOST`
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',', requires = "http")]
    pub(crate) allow_origin: Vec<String>,
    /// Most requests of one caller in a minute
    #[arg(long, value_name = "COUNT", default_value = "300", requires = "http")]
    pub(crate) rate: NonZeroU32,
    /// Append a line of JSON per request to this file
    #[arg(long, value_name = "FILE", requires = "http")]
    pub(crate) audit: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum McpCommand {
    /// Make a bearer token: prints it once, and adds its hash to a file
    Token(TokenFlags),
}

#[derive(Args, Debug)]
pub(crate) struct TokenFlags {
    /// Whose it is: letters, digits, dots and dashes
    pub(crate) name: String,
    /// The file with the hashes of all tokens
    #[arg(long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// What it allows
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', default_value = "netspy:read")]
    pub(crate) scopes: Vec<String>,
    /// How long it is good for
    #[arg(long, value_name = "TIME", default_value = "90d")]
    pub(crate) expires: String,
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
    /// Set filters and the format for the commands that follow, such as --process curl -o table
    Set(Box<SetFlags>),
    /// Take back what was set: all of it, or what is named
    Unset {
        /// What to take back
        #[arg(value_parser = SETTINGS)]
        names: Vec<String>,
    },
    /// Show what is set
    Show,
    /// End what is followed; so does Ctrl-C
    Stop,
    /// Show this help message
    Help {
        /// A command to explain
        command: Option<String>,
    },
    /// Exit interactive mode
    #[command(alias = "exit")]
    Quit,
}

/// What can be set for a session, by the names of the flags.
pub(crate) const SETTINGS: [&str; 10] =
    ["process", "pid", "to", "port", "failed", "direction", "duration", "since", "max-events", "output"];

/// Commands that are answered, wherever they are typed.
#[derive(Debug, Subcommand)]
pub(crate) enum Ask {
    /// Count connections by outcome
    Summary(WindowFlags),
    /// List recent connections
    List(ListFlags),
    /// List recent packet drops
    #[command(visible_alias = "droplist")]
    Drops(DropListFlags),
    /// Count packet drops by reason
    Dropsummary(DropWindowFlags),
    /// Group connections by destination and outcome
    Analyze(WindowFlags),
    /// Print connections as they happen
    Follow(FollowFlags),
    /// Watch processes, destinations, failures and drops on the whole screen
    Top(WindowFlags),
    /// Explain what fails: what the errors mean, and what to look at
    Why(WhyFlags),
    /// Show what is traced, how, and what was lost
    Status,
    /// Explain a summary, by a model if one is configured
    Insights(Words),
    /// Answer a question in plain words, by a model if one is configured
    #[command(alias = "contextual")]
    #[command(name = "ask")]
    Question(AskFlags),
    /// Show available MCP tools
    Tools,
}

impl Ask {
    /// The tool that answers, or whose questions are meant, with its arguments.
    pub(crate) fn tool(&self) -> Option<(&'static Tool, Map<String, Value>)> {
        let (name, arguments) = match self {
            Ask::Summary(flags) => ("get_network_summary", flags.arguments()),
            Ask::List(flags) => ("list_connections", flags.arguments()),
            Ask::Drops(flags) => ("list_packet_drops", flags.arguments()),
            Ask::Dropsummary(flags) => ("get_packet_drop_summary", flags.arguments()),
            Ask::Analyze(flags) | Ask::Top(flags) => ("analyze_patterns", flags.arguments()),
            Ask::Why(flags) => ("explain_failures", flags.arguments()),
            Ask::Follow(flags) => ("watch_connections", flags.arguments()),
            Ask::Status => ("get_status", Map::new()),
            Ask::Insights(words) => ("ai_insights", words.argument("summary_text")),
            Ask::Question(flags) => ("contextual_analysis", flags.arguments()),
            Ask::Tools => return None,
        };
        registry::find(name).map(|tool| (tool, arguments))
    }
}

/// A text of several words, quoted or not.
#[derive(Args, Debug)]
pub(crate) struct Words {
    /// The text
    #[arg(required = true, value_name = "WORDS")]
    words: Vec<String>,
}

impl Words {
    fn argument(&self, name: &str) -> Map<String, Value> {
        [(name.to_owned(), self.words.join(" ").into())].into_iter().collect()
    }
}

/// A question, and what it is about.
#[derive(Args, Debug)]
pub(crate) struct AskFlags {
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    window: Window,
}

impl AskFlags {
    fn arguments(&self) -> Map<String, Value> {
        let mut arguments = self.words.argument("query");
        self.target.add(&mut arguments);
        self.window.add(&mut arguments);
        arguments
    }
}

/// A command's flags: the groups that it takes.
macro_rules! flags {
    ($(#[$doc:meta])* $name:ident: $($group:ident: $type:ident),+) => {
        $(#[$doc])*
        #[derive(Args, Debug)]
        pub(crate) struct $name {
            $(#[command(flatten)] $group: $type,)+
        }

        impl $name {
            pub(crate) fn arguments(&self) -> Map<String, Value> {
                let mut arguments = Map::new();
                $(self.$group.add(&mut arguments);)+
                arguments
            }
        }
    };
}

flags!(WindowFlags: target: Target, remote: Remote, failed: Failed, window: Window, since: Since);
flags!(DropWindowFlags: target: Target, remote: Remote, window: Window, since: Since);
flags!(
    ListFlags: target: Target, remote: Remote, failed: Failed, way: Way, since: Since, most: Most, length: Length
);
flags!(DropListFlags: target: Target, remote: Remote, since: Since, most: Most, length: Length);
flags!(FollowFlags: target: Target, remote: Remote, failed: Failed, way: Way, watch: Watch);
flags!(
    SetFlags: target: Target, remote: Remote, failed: Failed, way: Way, window: Window, since: Since, most: Most
);
flags!(WhyFlags: target: Target, remote: Remote, since: Since);
flags!(
    /// Flags of `--tool`: those of every tool.
    ToolFlags: target: Target, remote: Remote, failed: Failed, way: Way, window: Window, since: Since, most: Most,
    length: Length, watch: Watch, text: Text
);

/// A group of flags: what was typed, by the tools' names for it.
macro_rules! group {
    ($name:ident { $($(#[$meta:meta])* $field:ident: $type:ty => $argument:literal,)+ }) => {
        #[derive(Args, Debug)]
        pub(crate) struct $name {
            $($(#[$meta])* $field: Option<$type>,)+
        }

        impl $name {
            fn add(&self, arguments: &mut Map<String, Value>) {
                $(if let Some(value) = &self.$field {
                    arguments.insert($argument.to_owned(), Value::from(value.clone()));
                })+
            }
        }
    };
}

group!(Target {
    /// Only this process id; 0 for any
    #[arg(long, allow_negative_numbers = true)]
    pid: i64 => "pid",
    /// Only processes of this name; empty for any
    // A login shell is called `-bash`.
    #[arg(long, value_name = "NAME", aliases = ["process-name", "process_name"], allow_hyphen_values = true)]
    process: String => "process_name",
});

group!(Remote {
    /// Only this remote address or network, such as 10.0.0.0/8
    #[arg(long, value_name = "ADDRESS")]
    to: String => "to",
    /// Only this remote port
    #[arg(long, allow_negative_numbers = true)]
    port: i64 => "port",
});

group!(Failed {
    /// Only connections that failed
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    failed: bool => "failed",
});

group!(Way {
    /// Only `outbound` or `inbound` connections
    #[arg(long, value_name = "WAY")]
    direction: String => "direction",
});

group!(Window {
    /// Seconds to look back; 0 for 60
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    duration: i64 => "duration",
});

group!(Since {
    /// How far to look back: 30s, 10m, 2h, 1d, or a moment (RFC 3339)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: String => "since",
});

group!(Most {
    /// Most events to show; 0 for 10 (with --tool, 100 if not given)
    #[arg(long, value_name = "COUNT", alias = "max_events", allow_negative_numbers = true)]
    max_events: i64 => "max_events",
});

group!(Length {
    /// Longest answer, for a model to read; the answer says where the next page begins
    #[arg(long, value_name = "COUNT", alias = "max_tokens", allow_negative_numbers = true, hide = true)]
    max_tokens: i64 => "max_tokens",
    /// Where an earlier answer ended: its `next_cursor`
    #[arg(long)]
    cursor: String => "cursor",
});

group!(Watch {
    /// How long to watch; 0 for 10 (follow: until Ctrl-C)
    #[arg(long, allow_negative_numbers = true)]
    seconds: i64 => "seconds",
});

group!(Text {
    /// What another tool answered
    #[arg(long, value_name = "TEXT", alias = "summary_text")]
    summary_text: String => "summary_text",
    /// What to find out, in plain words
    #[arg(long, value_name = "TEXT")]
    query: String => "query",
});
