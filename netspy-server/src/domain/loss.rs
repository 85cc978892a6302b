//! The ledger of what could not be recorded. Loss is data: an empty answer can only be trusted with it.

use std::collections::BTreeMap;

/// Every place that can lose something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LossPlace {
    /// The kernel found the ring of connection events full.
    EventsRingFull,
    /// The kernel found the ring of drops full.
    DropsRingFull,
    /// Too many sockets inside a connect at once to follow them all.
    SocketsFull,
    /// Too many threads inside a connect call at once to follow them all.
    InflightFull,
    /// A connect call was entered but its return was not seen.
    ReturnMissed,
    /// A record from the kernel was malformed.
    Undecodable,
    /// An outcome came for an attempt that was never seen.
    Orphaned,
    /// The store could not write it.
    Store,
}

impl LossPlace {
    /// Each of them once.
    pub const ALL: [Self; 8] = [
        Self::EventsRingFull,
        Self::DropsRingFull,
        Self::SocketsFull,
        Self::InflightFull,
        Self::ReturnMissed,
        Self::Undecodable,
        Self::Orphaned,
        Self::Store,
    ];

    /// Its name in the API and the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::EventsRingFull => "events_ring_full",
            Self::DropsRingFull => "drops_ring_full",
            Self::SocketsFull => "sockets_full",
            Self::InflightFull => "inflight_full",
            Self::ReturnMissed => "return_missed",
            Self::Undecodable => "undecodable",
            Self::Orphaned => "orphaned",
            Self::Store => "store",
        }
    }

    /// The reverse of [`LossPlace::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|place| place.name() == name)
    }
}

/// `count` events lost at `place`, noticed at `wall_ns` (ns since 1970).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// When it was noticed: at most one reading of the counters after it happened.
    pub wall_ns: i64,
    /// Where.
    pub place: LossPlace,
    /// How many.
    pub count: u64,
}

/// Losses of a window, by place; places without loss are absent.
pub type LossCounts = BTreeMap<LossPlace, u64>;
