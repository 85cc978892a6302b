//! Trouble on a TCP connection, or with a listener: what shows before a connection fails, or instead of it.

use std::sync::Arc;

use super::{Attribution, Endpoint, Process};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TroubleKind {
    /// A segment was sent again.
    Retransmit,
    /// This machine sent a RST.
    ResetSent,
    /// A RST from the peer ended a connection of this machine.
    ResetReceived,
    /// A listener had no room for one more connection.
    ListenOverflow,
}

impl TroubleKind {
    /// Each of them once.
    pub const ALL: [Self; 4] = [Self::Retransmit, Self::ResetSent, Self::ResetReceived, Self::ListenOverflow];

    /// Its name in the API and the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retransmit => "retransmit",
            Self::ResetSent => "reset_sent",
            Self::ResetReceived => "reset_received",
            Self::ListenOverflow => "listen_overflow",
        }
    }

    /// The reverse of [`TroubleKind::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How full the queue of a listener is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Connections that wait to be accepted.
    pub waiting: u32,
    /// How many may wait: what `listen` was given, at most `net.core.somaxconn`.
    pub limit: u32,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The same for the same event in a live run and in a replay of its recording.
    pub id: u64,
    /// What happened.
    pub kind: TroubleKind,
    /// `CLOCK_MONOTONIC` in ns.
    pub monotonic_ns: u64,
    /// The same moment as wall time, ns since 1970.
    pub wall_ns: i64,
    /// Whose socket it was.
    pub owner: Option<Arc<Process>>,
    /// How the owner was found: by the socket, or not at all.
    pub attribution: Attribution,
    /// The running kernel's name for the reason of a RST that it sent, where it gives one (since 6.10).
    pub reason: Option<String>,
    /// `AF_INET` (2), `AF_INET6` (10), or 0.
    pub family: u16,
    /// The end that sent, or was to send, the segment.
    pub source: Option<Endpoint>,
    /// The other end.
    pub destination: Option<Endpoint>,
    /// Inode number of the network namespace; 0 where unknown.
    pub netns: u32,
    /// Bytes in a segment that was sent again; 0 otherwise.
    pub length: u32,
    /// [`TroubleKind::ListenOverflow`]: how full the queue was.
    pub backlog: Option<Backlog>,
}
