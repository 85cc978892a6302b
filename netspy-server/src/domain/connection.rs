//! One outbound connection: who, where, and what became of it.

use std::net::{IpAddr, SocketAddr};

use super::{Process, errno_name};

/// One end of a connection or packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Address; a v4-mapped IPv6 address is kept as it is, see [`Endpoint::canonical`].
    pub ip: IpAddr,
    /// Port; 0 where unknown or meaningless.
    pub port: u16,
}

impl Endpoint {
    /// The address as people write it: v4-mapped IPv6 as IPv4 (RFC 4291 §2.5.5.2).
    #[must_use]
    pub fn canonical(self) -> Self {
        Self { ip: self.ip.to_canonical(), port: self.port }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        SocketAddr::new(self.ip.to_canonical(), self.port).fmt(f)
    }
}

/// Where an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No route to the destination: nothing was sent.
    Route,
    /// No source address or port could be had: nothing was sent.
    Bind,
    /// The kernel refused the call for another reason: nothing was sent.
    Call,
    /// After the first packet was sent.
    Handshake,
}

impl Stage {
    /// Stage of a failure that the call itself returned.
    pub fn of_call(errno: u32) -> Self {
        match errno_name(errno) {
            Some("ENETUNREACH" | "EHOSTUNREACH" | "ENETDOWN") => Self::Route,
            Some("EADDRNOTAVAIL" | "EADDRINUSE") => Self::Bind,
            _ => Self::Call,
        }
    }

    /// Its name in the API and the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Bind => "bind",
            Self::Call => "call",
            Self::Handshake => "handshake",
        }
    }

    /// The reverse of [`Stage::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Route, Self::Bind, Self::Call, Self::Handshake].into_iter().find(|stage| stage.name() == name)
    }
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not known yet.
    Pending,
    /// The peer answered; `latency_ns` from the connect call to the end of the handshake.
    Established { latency_ns: u64 },
    /// It failed with `errno`, `after_ns` after the call.
    Failed { errno: u32, stage: Stage, after_ns: u64 },
    /// The caller closed the socket before the peer answered.
    Aborted { after_ns: u64 },
}

impl Outcome {
    /// The one word for it.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Pending => Verdict::Pending,
            Self::Established { .. } => Verdict::Established,
            Self::Aborted { .. } => Verdict::Aborted,
            Self::Failed { errno, .. } => match errno_name(errno) {
                Some("ECONNREFUSED") => Verdict::Refused,
                Some("ECONNRESET") => Verdict::Reset,
                Some("ETIMEDOUT") => Verdict::TimedOut,
                Some("ENETUNREACH" | "EHOSTUNREACH" | "ENETDOWN" | "EHOSTDOWN") => Verdict::Unreachable,
                _ => Verdict::Failed,
            },
        }
    }
}

/// One word for an outcome, as the API and the store name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Still trying.
    Pending,
    /// Connected.
    Established,
    /// `ECONNREFUSED`: the peer has nobody there.
    Refused,
    /// `ECONNRESET`
    Reset,
    /// `ETIMEDOUT`: no answer.
    TimedOut,
    /// No way there: `ENETUNREACH`, `EHOSTUNREACH`, `ENETDOWN`, `EHOSTDOWN`.
    Unreachable,
    /// Closed by the caller before an answer came.
    Aborted,
    /// Any other errno.
    Failed,
}

impl Verdict {
    const ALL: [Self; 8] = [
        Self::Pending,
        Self::Established,
        Self::Refused,
        Self::Reset,
        Self::TimedOut,
        Self::Unreachable,
        Self::Aborted,
        Self::Failed,
    ];

    /// Its name in the API and the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Established => "established",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
        }
    }

    /// The reverse of [`Verdict::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.name() == name)
    }
}

/// One connect of one socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The same for the same connect in a live run and in a replay of its recording.
    pub id: u64,
    /// `CLOCK_MONOTONIC` in ns when the attempt began.
    pub monotonic_ns: u64,
    /// The same moment as wall time, ns since 1970.
    pub wall_ns: i64,
    /// Who asked.
    pub process: Process,
    /// `AF_INET` (2) or `AF_INET6` (10), as the socket is; 0 where the call named neither.
    pub family: u16,
    /// Local end, once the kernel has chosen it.
    pub source: Option<Endpoint>,
    /// Remote end, where the call named one.
    pub destination: Option<Endpoint>,
    /// IP protocol number (6 TCP).
    pub protocol: u8,
    /// Inode number of the network namespace; 0 where unknown.
    pub netns: u32,
    /// What became of it.
    pub outcome: Outcome,
}
