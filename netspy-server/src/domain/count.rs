//! Events that a flood left no records of: the kernel has counted them.

use std::{collections::BTreeMap, sync::Arc};

use super::{LossKind, Process, TroubleKind};

/// What is counted when there are too many to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CountedKind {
    /// Dropped packets.
    Drop,
    /// Any other trouble.
    Trouble(TroubleKind),
}

impl CountedKind {
    /// Its name in the API and the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drop => "packet_drop",
            Self::Trouble(kind) => kind.name(),
        }
    }

    /// As the ledger calls it.
    pub fn loss(self) -> LossKind {
        match self {
            Self::Drop => LossKind::PacketDrop,
            Self::Trouble(TroubleKind::Retransmit) => LossKind::Retransmit,
            Self::Trouble(TroubleKind::ResetSent) => LossKind::ResetSent,
            Self::Trouble(TroubleKind::ResetReceived) => LossKind::ResetReceived,
            Self::Trouble(TroubleKind::ListenOverflow) => LossKind::ListenOverflow,
        }
    }
}

/// So many events of which nothing else is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The same for the same count in a live run and in a replay of its recording.
    pub id: u64,
    /// When the kernel's counter was read, as wall time, ns since 1970: at most 0.1 s after they happened.
    pub wall_ns: i64,
    /// What they were.
    pub kind: CountedKind,
    /// The running kernel's name for their reason; empty where there is none.
    pub reason: String,
    /// Kernel code that dropped them, as `symbol+0xoffset`; empty for others.
    pub location: String,
    /// Whose socket it was.
    pub owner: Option<Arc<Process>>,
    /// How many.
    pub count: u64,
}

/// By reason and location.
pub type ReasonCounts = BTreeMap<(String, String), u64>;

/// What was only counted, in a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unrecorded {
    /// Those that match the question.
    pub matching: ReasonCounts,
    /// Those of which it is not known whether they match: the question names somebody, and their owner is not known, or it
    /// asks for what a count does not tell, such as an address.
    pub undecided: u64,
}

impl Unrecorded {
    /// How many match.
    pub fn total(&self) -> u64 {
        self.matching.values().sum()
    }
}
