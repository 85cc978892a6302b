//! Which events a question is about.

use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::{Direction, Verdict};

/// A stretch of wall time, both ends included, in ns since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First moment.
    pub since_ns: i64,
    /// Last moment.
    pub until_ns: i64,
}

/// One end of a connection, as far as a question cares. A packet that was dropped has two ends of which neither
/// is known to be the local one: there, one of them must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Addresses; an IPv4 network also matches its v4-mapped IPv6 addresses.
    pub network: Option<IpNet>,
    /// Ports.
    pub ports: Option<RangeInclusive<u16>>,
}

/// Which events a query is about; every given condition must hold. What an event does not have (a drop has no
/// direction, a connection no reason) does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// When it happened.
    pub window: Window,
    /// Process id.
    pub pid: Option<u32>,
    /// Exact name of the process or of the thread; a name longer than the 15 bytes that the kernel keeps
    /// matches what the kernel keeps of it.
    pub process: Option<String>,
    /// Exact path of the executable.
    pub exe: Option<String>,
    /// User id in the initial user namespace.
    pub uid: Option<u32>,
    /// Who began it.
    pub direction: Option<Direction>,
    /// What became of it.
    pub verdict: Option<Verdict>,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// `AF_*`.
    pub family: Option<u16>,
    /// The end on this machine.
    pub local: End,
    /// The other end.
    pub remote: End,
    /// Errno of a failed attempt.
    pub errno: Option<u32>,
    /// Name of the drop reason.
    pub reason: Option<String>,
}

impl Filter {
    /// Everything in `window`.
    pub const fn within(window: Window) -> Self {
        const ANY: End = End { network: None, ports: None };
        Self {
            window,
            pid: None,
            process: None,
            exe: None,
            uid: None,
            direction: None,
            verdict: None,
            protocol: None,
            family: None,
            local: ANY,
            remote: ANY,
            errno: None,
            reason: None,
        }
    }
}
