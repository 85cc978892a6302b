//! What the person who starts the server may say, each thing once: [`Settings`] are flags, and by the same names
//! also variables of the environment and keys of a file (see [`config`](crate::config)).

mod values;

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, value_parser};
use netspy_common::MAX_SOCKETS;

use crate::{
    domain::Keep,
    enrich::Cmdline,
    source::kernel::{HooksChoice, Options},
};
pub use values::{Listen, Socket};

/// Records which process talks to whom, what fails and what is dropped, and serves it over HTTP.
///
/// Each setting is a flag (`--keep-for 30d`), a variable of the environment (`NETSPY_KEEP_FOR=30d`) or a key of the file
/// /etc/netspy/server.toml (`keep-for = "30d"`); the first of these that says something counts. SIGHUP reads file and
/// tokens again.
#[derive(Clone, Debug, Parser)]
#[command(name = "netspy-server", version, args_conflicts_with_subcommands = true)]
pub struct Flags {
    #[command(subcommand)]
    pub job: Option<Job>,

    #[command(flatten)]
    pub serving: Serving,
}

/// Something else than serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Job {
    /// Says what this kernel allows, which hook each event gets, and what to fix; exits with 1 if an event cannot be had
    Doctor(DoctorFlags),
    /// Prints each setting, its value and where that comes from; takes the server's flags
    Config(Box<ConfigFlags>),
    /// Makes a token, prints it, and appends its hash to a file for --token-file
    Token(TokenFlags),
}

/// How to serve.
#[derive(Clone, Debug, Args)]
pub struct Serving {
    #[command(flatten)]
    pub settings: Settings,

    /// File of settings [default: /etc/netspy/server.toml if there is one]
    #[arg(long, value_name = "FILE", env = "NETSPY_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// Short for --listen 127.0.0.1:PORT
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,

    /// Accepted for compatibility: HTTP is always served
    #[arg(long)]
    http: bool,

    /// Also write the raw records of this run to FILE
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    pub record: Option<PathBuf>,

    /// Serve a recording made with --record; needs neither root nor a kernel that can trace, and takes --db, --socket
    /// and --cmdline from the command line only
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,

    /// Say more: -v what the server does, -vv also what the eBPF programs see
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,

    /// Settings that somebody made, by name: the others have their defaults.
    #[arg(skip)]
    pub made: Vec<String>,
}

/// What can be set by flag, environment and file.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Address to serve on; any other than loopback needs --token-file. Or off
    #[arg(long, visible_alias = "addr", value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    pub listen: Listen,

    /// UNIX socket to serve on, for root and the group netspy. Or off
    #[arg(long, value_name = "PATH", default_value = "/run/netspy/netspy.sock")]
    pub socket: Socket,

    /// File of tokens, made by `netspy-server token`: every request over TCP then needs one
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Name by which others ask for this server, besides those of the loopback and the address that it serves on
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = values::host_name)]
    pub allow_host: Vec<String>,

    /// File that history is kept in; with --replay, a temporary one
    #[arg(long, value_name = "FILE", default_value = "/var/lib/netspy/netspy.db")]
    pub db: PathBuf,

    /// How long history is kept: a number and s, m, h, d or w
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = values::duration)]
    pub keep_for: Duration,

    /// How much history is kept on disk: a number of bytes, or of KiB, MiB, GiB or TiB
    #[arg(long, value_name = "BYTES", default_value = "2GiB", value_parser = values::size)]
    pub keep_size: u64,

    /// Hooks to use
    #[arg(long, value_enum, default_value = "auto")]
    pub hooks: HooksChoice,

    /// What is kept of the arguments of processes, at most 512 bytes of each: all; all but what looks like a
    /// password, token or key; or nothing. A recording holds them raw
    #[arg(long, value_enum, default_value = "full")]
    pub cmdline: Cmdline,

    /// Connections and listeners that are followed at once (a few hundred bytes of kernel memory each); more are
    /// counted as lost
    #[arg(long, value_name = "COUNT", default_value_t = MAX_SOCKETS, value_parser = value_parser!(u32).range(1..=2 * i64::from(MAX_SOCKETS)))]
    pub max_sockets: u32,
}

/// What the person who asks for the settings may say.
#[derive(Clone, Debug, Args)]
pub struct ConfigFlags {
    #[command(flatten)]
    pub serving: Serving,

    /// How to answer
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

/// What the person who wants a token may say.
#[derive(Clone, Debug, Args)]
pub struct TokenFlags {
    /// Whose it is; for the log
    pub name: String,

    /// File of tokens
    #[arg(long, value_name = "FILE", default_value = "/etc/netspy/tokens")]
    pub file: PathBuf,

    /// How long it is good: a number and s, m, h, d or w [default: until its line is removed]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub expires: Option<Duration>,
}

/// What the person who asks the doctor may say.
#[derive(Clone, Debug, Args)]
pub struct DoctorFlags {
    /// Hooks to try
    #[arg(long, value_enum, default_value = "auto")]
    pub hooks: HooksChoice,

    /// How to answer
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,

    /// Say more, on standard error: -vv also the verifier's log
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

/// How an answer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// For programs: one JSON object on one line
    Json,
}

impl Serving {
    /// How to trace.
    pub fn tracing(&self) -> Options {
        Options {
            hooks: self.settings.hooks,
            verbose: self.verbose >= 2,
            max_sockets: self.settings.max_sockets,
        }
    }

    /// Whether somebody made this setting.
    pub fn is_made(&self, name: &str) -> bool {
        self.made.iter().any(|made| made == name)
    }
}

impl Settings {
    /// What retention leaves.
    pub fn keep(&self) -> Keep {
        Keep { for_ns: self.keep_for.as_nanos() as i64, bytes: self.keep_size }
    }
}
