//! A packet that the kernel threw away.

use std::sync::Arc;

use super::{Endpoint, Process};

/// How sure the owner of a dropped packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribution {
    /// The packet's own socket is one whose connect was seen.
    Socket,
    /// Its complete tuple and network namespace are those of a connection that was seen.
    Tuple,
    /// Nobody is known. A false pid is worse than none.
    None,
}

impl Attribution {
    /// Its name in the API and the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Tuple => "tuple",
            Self::None => "none",
        }
    }

    /// The reverse of [`Attribution::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Socket, Self::Tuple, Self::None].into_iter().find(|attribution| attribution.name() == name)
    }
}

/// Which way a dropped packet was going, as far as the packet itself tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketDirection {
    /// An interface of this machine had received it.
    Received,
    /// A socket of this machine was sending it.
    Sent,
    /// One interface had received it, and it was leaving through another.
    Forwarded,
}

impl PacketDirection {
    /// Its name in the API and the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Sent => "sent",
            Self::Forwarded => "forwarded",
        }
    }

    /// The reverse of [`PacketDirection::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Received, Self::Sent, Self::Forwarded].into_iter().find(|direction| direction.name() == name)
    }
}

/// One dropped packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketDrop {
    /// The same for the same drop in a live run and in a replay of its recording.
    pub id: u64,
    /// `CLOCK_MONOTONIC` in ns.
    pub monotonic_ns: u64,
    /// The same moment as wall time, ns since 1970.
    pub wall_ns: i64,
    /// Whose packet it was; meaningful with an attribution other than `None`.
    pub owner: Option<Arc<Process>>,
    /// How the owner was found.
    pub attribution: Attribution,
    /// The running kernel's number for the reason; `None` where the kernel gives none (before 5.17).
    pub reason_code: Option<u32>,
    /// The running kernel's name for it, or `UNCLASSIFIED` where it gives none.
    pub reason: String,
    /// Kernel code that dropped it, as `symbol+0xoffset`, or as a bare address.
    pub location: String,
    /// `AF_INET` (2), `AF_INET6` (10), or 0.
    pub family: u16,
    /// IP protocol number; 0 where unknown.
    pub protocol: u8,
    /// Sender's end.
    pub source: Option<Endpoint>,
    /// Receiver's end.
    pub destination: Option<Endpoint>,
    /// Bytes in the packet.
    pub length: u32,
    /// `EtherType`, 0 where unknown.
    pub ether_type: u16,
    /// Which way it was going, where that is known.
    pub direction: Option<PacketDirection>,
    /// Interface index, 0 where unknown.
    pub interface: u32,
    /// Name of that interface at that moment; empty where unknown. Chosen by an administrator of its namespace.
    pub interface_name: String,
    /// Inode number of the network namespace; 0 where unknown.
    pub netns: u32,
}
