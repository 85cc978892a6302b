//! One connection: who, where, and what became of it.

use std::{
    net::{IpAddr, SocketAddr, SocketAddrV6},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{Close, Process, Traffic, errno_name};

/// One end of a connection or packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address; a v4-mapped IPv6 address is kept as it is, see [`Endpoint::canonical`].
    pub ip: IpAddr,
    /// Port; 0 where unknown or meaningless.
    pub port: u16,
    /// Interface index that a link-local IPv6 address belongs to (RFC 4007); 0 for others, and where unknown.
    pub scope: u32,
}

impl Endpoint {
    /// The address as people write it: v4-mapped IPv6 as IPv4 (RFC 4291 §2.5.5.2).
    #[must_use]
    pub fn canonical(self) -> Self {
        Self { ip: self.ip.to_canonical(), ..self }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.ip.to_canonical() {
            IpAddr::V6(ip) => SocketAddrV6::new(ip, self.port, 0, self.scope).fmt(f),
            ip @ IpAddr::V4(_) => SocketAddr::new(ip, self.port).fmt(f),
        }
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Not known yet.
    #[default]
    Pending,
    /// Datagrams: nothing has come back, which says nothing about whether the peer is there.
    Unanswered,
    /// The peer answered; `latency_ns` from the connect call to the end of the handshake, or from the first datagram
    /// sent to the first one received.
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
            Self::Unanswered => Verdict::Unanswered,
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

/// An outcome taken apart, for stores whose columns it fills.
impl Outcome {
    /// When it was decided, in ns since the attempt.
    pub fn after_ns(self) -> Option<u64> {
        match self {
            Self::Pending | Self::Unanswered => None,
            Self::Established { latency_ns: after_ns }
            | Self::Aborted { after_ns }
            | Self::Failed { after_ns, .. } => Some(after_ns),
        }
    }

    /// With which errno it failed, and where.
    pub fn failure(self) -> Option<(u32, Stage)> {
        match self {
            Self::Failed { errno, stage, .. } => Some((errno, stage)),
            _ => None,
        }
    }

    /// The outcome that has these parts; if one is missing, what that is called.
    pub fn of_parts(
        verdict: Verdict,
        after_ns: Option<u64>,
        errno: Option<u32>,
        stage: Option<Stage>,
    ) -> Result<Self, &'static str> {
        let after_ns = || after_ns.ok_or("outcome_ns");
        Ok(match verdict {
            Verdict::Pending => Self::Pending,
            Verdict::Unanswered => Self::Unanswered,
            Verdict::Established => Self::Established { latency_ns: after_ns()? },
            Verdict::Aborted => Self::Aborted { after_ns: after_ns()? },
            // The others are words for an errno.
            Verdict::Refused
            | Verdict::Reset
            | Verdict::TimedOut
            | Verdict::Unreachable
            | Verdict::Failed => Self::Failed {
                errno: errno.ok_or("errno")?,
                stage: stage.ok_or("stage")?,
                after_ns: after_ns()?,
            },
        })
    }
}

/// One word for an outcome, as the API and the store name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Still trying.
    Pending,
    /// Datagrams were sent, or can be; none has come back.
    Unanswered,
    /// Connected; of datagrams, that one was received.
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
    /// Each of them once.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Unanswered,
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
            Self::Unanswered => "unanswered",
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

/// Who began a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Its owner did.
    #[default]
    Outbound,
    /// The peer did; its owner accepted it, or listens.
    Inbound,
}

impl Direction {
    /// Its name in the API and the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }

    /// The reverse of [`Direction::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Outbound, Self::Inbound].into_iter().find(|direction| direction.name() == name)
    }
}

/// One connection of one socket, or a flow of datagrams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// The same for the same connection in a live run and in a replay of its recording.
    pub id: u64,
    /// `CLOCK_MONOTONIC` in ns when it began: the attempt, or the end of an inbound handshake.
    pub monotonic_ns: u64,
    /// The same moment as wall time, ns since 1970.
    pub wall_ns: i64,
    /// Who asked or accepted; all zero where nobody is known.
    pub process: Arc<Process>,
    /// Who began it.
    pub direction: Direction,
    /// Whether it was there before netspy: then its beginning is when netspy found it.
    pub found: bool,
    /// `AF_UNIX` (1), `AF_INET` (2) or `AF_INET6` (10), as the socket is; 0 where the call named neither.
    pub family: u16,
    /// `SOCK_STREAM` (1), `SOCK_DGRAM` (2), `SOCK_RAW` (3), `SOCK_SEQPACKET` (5); 0 where unknown.
    pub socket_type: u8,
    /// The end that began it, once the kernel has chosen it.
    pub source: Option<Endpoint>,
    /// The other end, where the call named one.
    pub destination: Option<Endpoint>,
    /// `AF_UNIX`: path of the peer's socket; an abstract name begins with `@`.
    pub path: Option<String>,
    /// `AF_UNIX`: process id of the peer.
    pub peer_pid: Option<u32>,
    /// IP protocol number (6 TCP).
    pub protocol: u8,
    /// Inode number of the network namespace; 0 where unknown.
    pub netns: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// Inbound: time in the listener's queue until it was accepted, in ns.
    pub accepted_after_ns: Option<u64>,
    /// What was sent and received, as far as known.
    pub traffic: Option<Traffic>,
    /// How it ended.
    pub close: Option<Close>,
}
