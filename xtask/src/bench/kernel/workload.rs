//! What the load generator can do, and how it is told: one order and one answer a line, JSON.

use serde::{Deserialize, Serialize};

/// One kind of attempt, made again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Workload {
    /// TCP connect, accept, and a close of both ends without a reset
    Tcp,
    /// TCP connect to a port on which nobody listens, with a new socket each time
    Refused,
    /// UDP connect, with a new socket each time
    Udp,
    /// `Refused` with one socket for all: the cheapest attempts there are, for high rates
    Retry,
}

impl Workload {
    /// Those whose slow-down is measured.
    pub(super) const MEASURED: [Self; 3] = [Self::Tcp, Self::Refused, Self::Udp];

    /// Name that the generator's process has meanwhile: tools tell the workloads apart by it. Some show ten letters.
    pub(super) fn process(self) -> &'static str {
        match self {
            Self::Tcp => "load-tcp",
            Self::Refused => "load-deny",
            Self::Udp => "load-udp",
            Self::Retry => "load-retry",
        }
    }

    /// What it does, for tables.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Tcp => "TCP connect+close",
            Self::Refused => "refused connect",
            Self::Udp => "UDP connect",
            Self::Retry => "refused, same socket",
        }
    }

    /// Destination port: also tells the two ends of a loopback connection apart.
    pub(super) fn port(self) -> u16 {
        match self {
            Self::Tcp => 7001,
            Self::Refused => 7002,
            Self::Udp => 7003,
            Self::Retry => 7004,
        }
    }
}

/// What the generator is told.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// What to do.
    pub(super) workload: Workload,
    /// For how long.
    pub(super) milliseconds: u64,
    /// How often a second; as fast as it can if absent.
    pub(super) rate: Option<u32>,
}

/// What the generator did.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Made {
    /// Exact number of attempts.
    pub(super) attempts: u64,
    /// TCP attempts in its network namespace by the kernel's own count.
    pub(super) opens: u64,
    /// Resets sent there.
    pub(super) resets: u64,
    /// Time it took, in ns.
    pub(super) wall_ns: u64,
    /// CPU time of the generator, in ns.
    pub(super) cpu_ns: u64,
}

impl Made {
    /// Attempts per second.
    pub(super) fn rate(self) -> f64 {
        self.attempts as f64 * 1e9 / self.wall_ns.max(1) as f64
    }

    /// CPU time of one attempt, in ns.
    pub(super) fn cpu_each_ns(self) -> f64 {
        self.cpu_ns as f64 / self.attempts.max(1) as f64
    }
}
