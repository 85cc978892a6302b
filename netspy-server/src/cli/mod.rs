//! What the person who starts the server may say.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, value_parser};
use netspy_common::MAX_SOCKETS;

use crate::{
    domain::Keep,
    enrich::Cmdline,
    source::kernel::{HooksChoice, Options},
};

/// Where history is kept unless `--db` says otherwise.
const DEFAULT_DB: &str = "/var/lib/netspy/netspy.db";
const DEFAULT_PORT: u16 = 8080;

/// Records which process talks to whom, what fails and what is dropped, and serves it over HTTP.
#[derive(Clone, Debug, Parser)]
#[command(name = "netspy-server", version, about, args_conflicts_with_subcommands = true)]
pub struct Flags {
    #[command(subcommand)]
    pub job: Option<Job>,

    /// Address to serve on; only addresses of this machine's loopback
    #[arg(long, visible_alias = "addr", value_name = "ADDR:PORT", conflicts_with = "port")]
    listen: Option<String>,

    /// Port to serve on, at 127.0.0.1 [default: 8080]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// Accepted for compatibility: HTTP is always served
    #[arg(long)]
    http: bool,

    /// File that history is kept in [default: /var/lib/netspy/netspy.db; with --replay, a temporary one]
    #[arg(long, value_name = "FILE")]
    pub db: Option<PathBuf>,

    /// How long history is kept: a number and s, m, h, d or w
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration)]
    pub keep_for: Duration,

    /// How much history is kept on disk: a number of bytes, or of KiB, MiB, GiB or TiB
    #[arg(long, value_name = "BYTES", default_value = "2GiB", value_parser = size)]
    pub keep_size: u64,

    /// Hooks to use
    #[arg(long, value_enum, default_value = "auto")]
    pub hooks: HooksChoice,

    /// What is kept of the arguments of processes, at most 512 bytes of each: all; all but what looks like a
    /// password, token or key; or nothing. A recording holds them raw
    #[arg(long, value_enum, default_value = "full", conflicts_with_all = ["record", "replay"])]
    pub cmdline: Cmdline,
    /// Connections and listeners that are followed at once (a few hundred bytes of kernel memory each); more are
    /// counted as lost
    #[arg(long, value_name = "COUNT", default_value_t = MAX_SOCKETS, value_parser = value_parser!(u32).range(1..=2 * i64::from(MAX_SOCKETS)))]
    pub max_sockets: u32,

    /// Also write the raw records of this run to FILE
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    pub record: Option<PathBuf>,

    /// Serve a recording made with --record; needs neither root nor a kernel that can trace
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,

    /// Say more: -v what the server does, -vv also what the eBPF programs see
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

/// Something else than serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Job {
    /// Says what this kernel allows, which hook each event gets, and what to fix; exits with 1 if an event cannot be had
    Doctor(DoctorFlags),
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

impl Flags {
    /// The command line, with the earlier server's `-addr`, `-port` and `-http` understood.
    pub fn from_command_line() -> Self {
        let words = std::env::args_os().map(|word| match word.to_str() {
            Some(text) if is_single_dash_long(text) => format!("-{text}").into(),
            _ => word,
        });
        Self::parse_from(words)
    }

    /// How to trace.
    pub fn tracing(&self) -> Options {
        Options { hooks: self.hooks, verbose: self.verbose >= 2, max_sockets: self.max_sockets }
    }

    /// Where to serve; an error says what was wrong with it.
    pub fn address(&self) -> Result<SocketAddr, String> {
        let Some(text) = &self.listen else {
            return Ok(SocketAddr::from(([127, 0, 0, 1], self.port.unwrap_or(DEFAULT_PORT))));
        };
        // `:8080` means every address to the earlier server; here it means the only ones allowed.
        let (host, port) =
            text.rsplit_once(':').ok_or_else(|| format!("--listen {text}: expected ADDR:PORT"))?;
        let host = if host.is_empty() || host == "localhost" { "127.0.0.1" } else { host };
        let address: SocketAddr = format!("{host}:{port}").parse().map_err(|_| {
            format!("--listen {text}: expected ADDR:PORT, such as 127.0.0.1:8080 or [::1]:8080")
        })?;
        if !address.ip().is_loopback() {
            return Err(format!(
                "--listen {text}: anybody who can reach that address could read this machine's connections; \
                 use 127.0.0.1:{} and reach it through ssh -L",
                address.port()
            ));
        }
        Ok(address)
    }

    /// What retention leaves.
    pub fn keep(&self) -> Keep {
        Keep { for_ns: self.keep_for.as_nanos() as i64, bytes: self.keep_size }
    }

    /// Where history is kept; `None` for a temporary store.
    pub fn database(&self) -> Option<PathBuf> {
        match (&self.db, &self.replay) {
            (Some(path), _) => Some(path.clone()),
            (None, Some(_)) => None,
            (None, None) => Some(DEFAULT_DB.into()),
        }
    }
}

const DURATIONS: [(&str, u64); 5] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800)];
/// Longer than anybody keeps anything, and far from overflowing.
const LONGEST_SECONDS: u64 = 100 * 365 * 86_400;

fn duration(text: &str) -> Result<Duration, String> {
    match with_unit(text, &DURATIONS) {
        Some(seconds @ 60..=LONGEST_SECONDS) => Ok(Duration::from_secs(seconds)),
        _ => Err("expected a number and a unit, such as 12h or 7d: from 1m to 5200w".to_owned()),
    }
}

const SIZES: [(&str, u64); 5] =
    [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

fn size(text: &str) -> Result<u64, String> {
    match with_unit(text, &SIZES) {
        Some(bytes) if bytes >= Keep::LEAST_BYTES => Ok(bytes),
        _ => Err(format!(
            "expected a number and a unit, such as 500MiB or 2GiB: at least {}MiB",
            Keep::LEAST_BYTES >> 20
        )),
    }
}

/// A whole number times its unit.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (_, unit) = units.iter().find(|(name, _)| *name == &text[end..])?;
    text[..end].parse::<u64>().ok()?.checked_mul(*unit)
}

/// Whether Go's flag package would take it for a long flag.
fn is_single_dash_long(word: &str) -> bool {
    let name = word.strip_prefix('-').and_then(|rest| rest.split('=').next());
    matches!(name, Some("addr" | "port" | "http" | "listen"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(words: &[&str]) -> Result<SocketAddr, String> {
        Flags::try_parse_from([&["netspy-server"], words].concat()).map_err(|e| e.to_string())?.address()
    }

    #[test]
    fn the_address_is_loopback_or_an_error_that_says_what_to_do() {
        assert_eq!(address(&[]).unwrap().to_string(), "127.0.0.1:8080");
        assert_eq!(address(&["--http", "--port", "9"]).unwrap().to_string(), "127.0.0.1:9");
        assert_eq!(address(&["--addr", ":81"]).unwrap().to_string(), "127.0.0.1:81");
        assert_eq!(address(&["--listen", "[::1]:80"]).unwrap().to_string(), "[::1]:80");
        assert!(address(&["--listen", "0.0.0.0:80"]).unwrap_err().contains("ssh -L"));
        assert!(address(&["--listen", "80"]).unwrap_err().contains("ADDR:PORT"));
        assert!(address(&["--port", "70000"]).is_err());
        assert!(address(&["--port", "80", "--listen", "127.0.0.1:80"]).is_err());
    }

    #[test]
    fn retention_is_a_number_and_a_unit() {
        let keep = |words: &[&str]| {
            Flags::try_parse_from([&["netspy-server"], words].concat()).map(|flags| flags.keep())
        };
        assert_eq!(keep(&[]).unwrap(), Keep::default());
        let some = keep(&["--keep-for", "90m", "--keep-size", "64MiB"]).unwrap();
        assert_eq!(some, Keep { for_ns: 5_400_000_000_000, bytes: 64 << 20 });
        assert_eq!(keep(&["--keep-size", "100000000"]).unwrap().bytes, 100_000_000);
        for wrong in ["7", "d", "-1d", "7 d", "59s", "99999999999w", "18446744073709551616s"] {
            let error = keep(&[&format!("--keep-for={wrong}")]).unwrap_err().to_string();
            assert!(error.contains("12h or 7d"), "{wrong}: {error}");
        }
        for wrong in ["1MiB", "GiB", "1.5GiB", "2GB", "99999999999TiB"] {
            let error = keep(&["--keep-size", wrong]).unwrap_err().to_string();
            assert!(error.contains("at least 64MiB"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_recording_cannot_be_told_to_leave_arguments_out() {
        assert!(address(&["--cmdline", "redacted"]).is_ok() && address(&["--record", "x"]).is_ok());
        assert!(address(&["--cmdline", "redacted", "--record", "x"]).unwrap_err().contains("--record"));
        assert!(address(&["--cmdline", "some"]).unwrap_err().contains("redacted"));
    }

    #[test]
    fn the_earlier_servers_flags_are_known() {
        assert!(is_single_dash_long("-addr") && is_single_dash_long("-addr=:80"));
        assert!(!is_single_dash_long("--addr") && !is_single_dash_long("-v"));
    }
}
