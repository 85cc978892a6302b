//! The ledger of what could not be recorded. Loss is data: an empty answer can only be trusted with it.

use std::collections::BTreeMap;

/// Every place that can lose something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LossPlace {
    /// The kernel found the ring of connection events full.
    EventsRingFull,
    /// The kernel found the ring of drops full: these have no record, but are counted.
    DropsRingFull,
    /// Too many sockets inside a connect at once to follow them all.
    SocketsFull,
    /// Too many threads inside a connect call at once to follow them all.
    InflightFull,
    /// Too many flows of datagrams at once to count them all.
    FlowsFull,
    /// A connect call was entered but its return was not seen.
    ReturnMissed,
    /// The kernel found the ring full when a process began, changed or ended: names of later events may be missing.
    ProcessesRingFull,
    /// Too many kinds of events at once to count each that a flood left without a record.
    CountsFull,
    /// A record from the kernel was malformed.
    Undecodable,
    /// An outcome came for an attempt that was never seen.
    Orphaned,
    /// The store could not write it.
    Store,
    /// The kernel skipped a program because it would have interrupted itself on the same CPU.
    Skipped,
    /// What became of a connection was known after retention had deleted its beginning.
    Expired,
}

impl LossPlace {
    /// Each of them once.
    pub const ALL: [Self; 13] = [
        Self::EventsRingFull,
        Self::DropsRingFull,
        Self::SocketsFull,
        Self::InflightFull,
        Self::FlowsFull,
        Self::ReturnMissed,
        Self::ProcessesRingFull,
        Self::CountsFull,
        Self::Undecodable,
        Self::Orphaned,
        Self::Store,
        Self::Skipped,
        Self::Expired,
    ];

    /// Its name in the API and the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::EventsRingFull => "events_ring_full",
            Self::DropsRingFull => "drops_ring_full",
            Self::SocketsFull => "sockets_full",
            Self::InflightFull => "inflight_full",
            Self::FlowsFull => "flows_full",
            Self::ReturnMissed => "return_missed",
            Self::ProcessesRingFull => "processes_ring_full",
            Self::CountsFull => "counts_full",
            Self::Undecodable => "undecodable",
            Self::Orphaned => "orphaned",
            Self::Store => "store",
            Self::Skipped => "skipped",
            Self::Expired => "expired",
        }
    }

    /// The reverse of [`LossPlace::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|place| place.name() == name)
    }
}

/// What it was that was lost, by the name of its event (`/api/programs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LossKind {
    /// Where the loss was noticed nothing says what it was.
    Unknown,
    /// A connection's beginning, outcome or end.
    Connection,
    /// The owner of an inbound connection.
    Accept,
    /// A dropped packet.
    PacketDrop,
    /// A connect of a UNIX socket.
    Unix,
    /// A flow of UDP datagrams.
    Udp,
    /// A flow of ICMP echoes or of a raw socket.
    Raw,
    /// A process's beginning, program or end.
    Process,
    /// A segment sent again.
    Retransmit,
    /// A RST that was sent.
    ResetSent,
    /// A RST that was received.
    ResetReceived,
    /// A full listen queue.
    ListenOverflow,
}

impl LossKind {
    /// Each of them once.
    pub const ALL: [Self; 12] = [
        Self::Unknown,
        Self::Connection,
        Self::Accept,
        Self::PacketDrop,
        Self::Unix,
        Self::Udp,
        Self::Raw,
        Self::Process,
        Self::Retransmit,
        Self::ResetSent,
        Self::ResetReceived,
        Self::ListenOverflow,
    ];

    /// Its name in the API and the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Connection => "connection",
            Self::Accept => "accept",
            Self::PacketDrop => "packet_drop",
            Self::Unix => "unix",
            Self::Udp => "udp",
            Self::Raw => "raw",
            Self::Process => "process",
            Self::Retransmit => "retransmit",
            Self::ResetSent => "reset_sent",
            Self::ResetReceived => "reset_received",
            Self::ListenOverflow => "listen_overflow",
        }
    }

    /// The reverse of [`LossKind::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// `count` events lost at `place`, noticed at `wall_ns` (ns since 1970).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// When it was noticed: at most one reading of the counters after it happened.
    pub wall_ns: i64,
    /// Where.
    pub place: LossPlace,
    /// What.
    pub kind: LossKind,
    /// How many.
    pub count: u64,
}

/// Losses of a window, by place and kind; those without loss are absent.
pub type LossCounts = BTreeMap<(LossPlace, LossKind), u64>;
