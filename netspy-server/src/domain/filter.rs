//! Which events a question is about.

mod matches;

use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::{Direction, PacketDirection, Verdict};

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

/// A place in a list that is newest first, by wall time and then by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// ns since 1970.
    pub wall_ns: i64,
    /// Of the event that was listed last; `None` for a place after all of that moment.
    pub id: Option<u64>,
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
    /// Systemd unit.
    pub unit: Option<String>,
    /// Id or name of the container, or a beginning of the id that is as long as a short one, see [`is_short_id`].
    pub container: Option<String>,
    /// Who began it.
    pub direction: Option<Direction>,
    /// Which way a dropped packet was going.
    pub packet_direction: Option<PacketDirection>,
    /// What became of it: one of these; any if there is none.
    pub verdicts: Vec<Verdict>,
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
    /// The kernel's name for why it dropped a packet or sent a RST.
    pub reason: Option<String>,
    /// Only connections that began at this moment or later, or whose outcome or end came then; ns since 1970.
    pub changed_since_ns: Option<i64>,
    /// Rows after this place only. Counts are of all.
    pub after: Option<Place>,
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
            unit: None,
            container: None,
            direction: None,
            packet_direction: None,
            verdicts: Vec::new(),
            protocol: None,
            family: None,
            local: ANY,
            remote: ANY,
            errno: None,
            reason: None,
            changed_since_ns: None,
            after: None,
        }
    }

    /// Whether it asks for something that only connections have.
    pub fn is_of_connections(&self) -> bool {
        self.direction.is_some() || !self.verdicts.is_empty() || self.errno.is_some()
    }

    /// Whether it asks whose events they are.
    pub fn is_of_somebody(&self) -> bool {
        let texts = [&self.process, &self.exe, &self.unit, &self.container];
        self.pid.is_some() || self.uid.is_some() || texts.iter().any(|text| text.is_some())
    }

    /// Whether it asks for something that is not known of events that were only counted.
    pub fn is_of_packets(&self) -> bool {
        let ends = [&self.local, &self.remote];
        self.protocol.is_some()
            || self.family.is_some()
            || self.packet_direction.is_some()
            || ends.iter().any(|end| **end != End::default())
    }
}

/// Whether it is long enough to stand for a container's id that begins so: twelve hexadecimal digits or more, as
/// the runtimes show it.
pub fn is_short_id(text: &str) -> bool {
    text.len() >= 12 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Bytes of a name that the kernel keeps (`TASK_COMM_LEN` without the terminating zero).
const COMM_BYTES: usize = 15;

/// What is left of a name in the kernel. A character that is cut in two reads as U+FFFD, as it does when the
/// kernel's bytes are decoded.
pub fn as_kernel_keeps(name: &str) -> String {
    let bytes = name.as_bytes();
    String::from_utf8_lossy(&bytes[..bytes.len().min(COMM_BYTES)]).into_owned()
}
