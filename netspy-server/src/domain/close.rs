//! How a connection ended, and what had passed over it.

/// What was sent and received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Payload sent, in bytes; retransmissions are not counted twice.
    pub bytes_sent: u64,
    /// Payload received, in bytes.
    pub bytes_received: u64,
    /// Datagrams sent; `None` for a stream.
    pub packets_sent: Option<u64>,
    /// Datagrams received; `None` for a stream.
    pub packets_received: Option<u64>,
    /// TCP: smoothed round-trip time in µs (RFC 6298), where one was measured.
    pub srtt_us: Option<u32>,
    /// TCP: segments sent again.
    pub retransmits: Option<u32>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// This end sent the first FIN, or closed its datagram or UNIX socket first.
    ClosedLocally,
    /// The peer sent the first FIN, or closed its UNIX socket first.
    ClosedByPeer,
    /// The peer sent a RST, or closed its UNIX socket without having read everything.
    ResetByPeer,
    /// This end aborted: a RST instead of a FIN.
    ResetLocally,
    /// The peer did not answer any more.
    TimedOut,
    /// Nothing was sent or received for so long that a flow of datagrams counts as over.
    Idle,
    /// Any other error of the socket.
    Failed,
    /// It is gone; the record of how was lost, and counted.
    Unseen,
}

impl Ending {
    const ALL: [Self; 8] = [
        Self::ClosedLocally,
        Self::ClosedByPeer,
        Self::ResetByPeer,
        Self::ResetLocally,
        Self::TimedOut,
        Self::Idle,
        Self::Failed,
        Self::Unseen,
    ];

    /// Its name in the API and the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClosedLocally => "closed_locally",
            Self::ClosedByPeer => "closed_by_peer",
            Self::ResetByPeer => "reset_by_peer",
            Self::ResetLocally => "reset_locally",
            Self::TimedOut => "timed_out",
            Self::Idle => "idle",
            Self::Failed => "failed",
            Self::Unseen => "unseen",
        }
    }

    /// The reverse of [`Ending::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ending| ending.name() == name)
    }
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// From the beginning of the connection to its end, in ns.
    pub after_ns: u64,
    /// How.
    pub ending: Ending,
    /// The socket's error at the end; 0 for none.
    pub errno: u32,
}
