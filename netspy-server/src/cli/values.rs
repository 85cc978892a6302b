//! What the text of a setting means: addresses, durations, sizes. Pure.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use crate::domain::Keep;

/// The word that turns a listener off.
const OFF: &str = "off";

/// Where TCP is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// At this address.
    At(SocketAddr),
}

impl Listen {
    /// A port of this machine's loopback.
    pub fn on_loopback(port: u16) -> Self {
        Self::At(SocketAddr::from(([127, 0, 0, 1], port)))
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == OFF {
            return Ok(Self::Off);
        }
        let expected = || "expected ADDR:PORT, such as 127.0.0.1:8080 or [::1]:8080, or off".to_owned();
        // `:8080` means every address to the earlier server; here it means the one that needs no token.
        let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
        let host = if host.is_empty() || host == "localhost" { "127.0.0.1" } else { host };
        format!("{host}:{port}").parse().map(Self::At).map_err(|_| expected())
    }
}

/// Where a UNIX socket is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Socket {
    /// Nowhere.
    Off,
    /// At this path.
    At(PathBuf),
}

impl FromStr for Socket {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            OFF => Ok(Self::Off),
            path if path.starts_with('/') => Ok(Self::At(path.into())),
            _ => Err("expected an absolute path, or off".to_owned()),
        }
    }
}

const DURATIONS: [(&str, u64); 5] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800)];
/// Longer than anybody keeps anything, and far from overflowing.
const LONGEST_SECONDS: u64 = 100 * 365 * 86_400;

/// From a minute to a century.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match with_unit(text, &DURATIONS) {
        Some(seconds @ 60..=LONGEST_SECONDS) => Ok(Duration::from_secs(seconds)),
        _ => Err("expected a number and a unit, such as 12h or 7d: from 1m to 5200w".to_owned()),
    }
}

const SIZES: [(&str, u64); 5] =
    [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// Bytes, at least what a history needs.
pub(super) fn size(text: &str) -> Result<u64, String> {
    match with_unit(text, &SIZES) {
        Some(bytes) if bytes >= Keep::LEAST_BYTES => Ok(bytes),
        _ => Err(format!(
            "expected a number and a unit, such as 500MiB or 2GiB: at least {}MiB",
            Keep::LEAST_BYTES >> 20
        )),
    }
}

/// A name that a `Host` header may have; without port, so that every port is meant.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    let name = text.trim_start_matches('[').trim_end_matches(']');
    let has_port = name.matches(':').count() == 1;
    if name.is_empty() || has_port || !name.chars().all(is_part) {
        return Err("expected a name or an address without a port, such as monitor.lan".to_owned());
    }
    Ok(name.to_owned())
}

/// A whole number times its unit.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (_, unit) = units.iter().find(|(name, _)| *name == &text[end..])?;
    text[..end].parse::<u64>().ok()?.checked_mul(*unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_and_means_the_loopback_where_nothing_is_said() {
        let at = |text: &str| match text.parse() {
            Ok(Listen::At(address)) => address.to_string(),
            Ok(Listen::Off) => OFF.to_owned(),
            Err(error) => error,
        };
        assert_eq!(at(":81"), "127.0.0.1:81");
        assert_eq!(at("localhost:81"), "127.0.0.1:81");
        assert_eq!(at("[::1]:80"), "[::1]:80");
        assert_eq!(at("0.0.0.0:80"), "0.0.0.0:80");
        assert_eq!(at("off"), "off");
        for wrong in ["80", "::1", "name:80", "127.0.0.1:70000", ""] {
            assert!(at(wrong).contains("ADDR:PORT"), "{wrong}");
        }
    }

    #[test]
    fn a_socket_is_an_absolute_path() {
        assert_eq!("/run/x".parse(), Ok(Socket::At("/run/x".into())));
        assert_eq!("off".parse(), Ok(Socket::Off));
        assert!("run/x".parse::<Socket>().unwrap_err().contains("absolute"));
    }

    #[test]
    fn retention_is_a_number_and_a_unit() {
        assert_eq!(duration("90m"), Ok(Duration::from_mins(90)));
        assert_eq!((size("64MiB"), size("100000000")), (Ok(64 << 20), Ok(100_000_000)));
        for wrong in ["7", "d", "-1d", "7 d", "59s", "99999999999w", "18446744073709551616s"] {
            assert!(duration(wrong).unwrap_err().contains("12h or 7d"), "{wrong}");
        }
        for wrong in ["1MiB", "GiB", "1.5GiB", "2GB", "99999999999TiB"] {
            assert!(size(wrong).unwrap_err().contains("at least 64MiB"), "{wrong}");
        }
    }

    #[test]
    fn a_host_has_no_port() {
        for (text, name) in
            [("monitor.lan", "monitor.lan"), ("[fd00::5]", "fd00::5"), ("10.0.0.1", "10.0.0.1")]
        {
            assert_eq!(host_name(text).as_deref(), Ok(name));
        }
        for wrong in ["", "monitor.lan:80", "http://monitor", "a b"] {
            assert!(host_name(wrong).is_err(), "{wrong}");
        }
    }
}
