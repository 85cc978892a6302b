//! What the person who starts the server may say.

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgAction, Parser};

use crate::source::kernel::HooksChoice;

/// Where history is kept unless `--db` says otherwise.
const DEFAULT_DB: &str = "/var/lib/netspy/netspy.db";
const DEFAULT_PORT: u16 = 8080;

/// Records which process talks to whom, what fails and what is dropped, and serves it over HTTP.
#[derive(Clone, Debug, Parser)]
#[command(name = "netspy-server", version, about)]
pub struct Flags {
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

    /// Hooks to use: the best that work, or only those of one kind
    #[arg(long, value_enum, default_value = "auto")]
    pub hooks: HooksChoice,

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

impl Flags {
    /// The command line, with the earlier server's `-addr`, `-port` and `-http` understood.
    pub fn from_command_line() -> Self {
        let words = std::env::args_os().map(|word| match word.to_str() {
            Some(text) if is_single_dash_long(text) => format!("-{text}").into(),
            _ => word,
        });
        Self::parse_from(words)
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

    /// Where history is kept; `None` for a temporary store.
    pub fn database(&self) -> Option<PathBuf> {
        match (&self.db, &self.replay) {
            (Some(path), _) => Some(path.clone()),
            (None, Some(_)) => None,
            (None, None) => Some(DEFAULT_DB.into()),
        }
    }
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
    fn the_earlier_servers_flags_are_known() {
        assert!(is_single_dash_long("-addr") && is_single_dash_long("-addr=:80"));
        assert!(!is_single_dash_long("--addr") && !is_single_dash_long("-v"));
    }
}
