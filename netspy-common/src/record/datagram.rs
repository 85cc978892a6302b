//! Datagram sockets: UDP, ICMP echo, raw. What passes between one socket and one remote end is a flow.

use super::{RecordHeader, Task, Tuple};

/// Names a flow for as long as the system is up. Addresses are in the form of the socket's family: a v6 socket
/// that talks to an IPv4 host has a v4-mapped remote address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// Kernel address of the `struct sock`; never leaves the server.
    pub socket: u64,
    /// Inode number of the socket: addresses of sockets are used again.
    pub inode: u64,
    /// Address of the other end in network order; IPv4 in the first four bytes.
    pub remote: [u8; 16],
    /// Its port in host order; 0 where there are none.
    pub port: u16,
    /// `AF_INET` (2) or `AF_INET6` (10), of the socket.
    pub family: u16,
    /// Interface index that a link-local `remote` belongs to; 0 for other addresses.
    pub scope: u32,
}

/// What passed over a flow: the value of map `FLOWS`. Times are `CLOCK_MONOTONIC` in ns. A call to send or receive
/// is one packet, also where the kernel splits (`UDP_SEGMENT`) or joins (`UDP_GRO`) them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// When the first packet was sent or received.
    pub started_ns: u64,
    /// When the latest one was.
    pub last_ns: u64,
    /// When the first one was received by its process; 0 before.
    pub answered_ns: u64,
    /// When `errno` came; 0 for none.
    pub failed_ns: u64,
    /// Packets that were handed to the network.
    pub packets_sent: u64,
    /// Their payload in bytes: for UDP without its header, for ICMP and raw sockets what the caller gave.
    pub bytes_sent: u64,
    /// Packets that the process took.
    pub packets_received: u64,
    /// Their payload in bytes, as far as the process took it.
    pub bytes_received: u64,
    /// First error that the network reported to the socket (`sk->sk_err`), such as `ECONNREFUSED` for an ICMP port
    /// unreachable; 0 for none.
    pub errno: u32,
    /// Explicit padding, always 0.
    pub pad: u32,
    /// Who sent or received the first packet.
    pub owner: Task,
}

/// A flow begins: a socket was connected ([`FlowRecord::traffic`] 0), or its first packet was sent or received.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    /// Kind [`super::kind::FLOW`].
    pub header: RecordHeader,
    /// Which flow.
    pub flow: FlowKey,
    /// Who.
    pub task: Task,
    /// Source is local, and unknown where the socket has no address; destination is the remote end.
    pub tuple: Tuple,
    /// 0, or the errno with which connect or send failed: then nothing was sent, and nothing follows.
    pub errno: u32,
    /// Inode number of the socket's network namespace; 0 where unknown.
    pub netns: u32,
    /// One of [`super::role`].
    pub role: u32,
    /// `SOCK_DGRAM` (2) or `SOCK_RAW` (3).
    pub socket_type: u32,
    /// Whether the flow has its counters in map `FLOWS`.
    pub traffic: u32,
    /// Whether its traffic and its end are watched: 0 where only connects can be seen.
    pub watched: u32,
}

/// The counters of a flow as they were read at [`RecordHeader::time_ns`]. Written by the server, which reads the
/// map, so that a recording holds what was read.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrafficRecord {
    /// Kind [`super::kind::TRAFFIC`].
    pub header: RecordHeader,
    /// Which flow.
    pub flow: FlowKey,
    /// What passed over it; zeroes for a connected socket that was never used.
    pub counters: Flow,
    /// 1 when the flow is over and its entry in the map removed.
    pub over: u64,
}

/// A datagram socket was closed, at [`RecordHeader::time_ns`]: nothing is sent or received through it any more.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleaseRecord {
    /// Kind [`super::kind::RELEASE`].
    pub header: RecordHeader,
    /// Kernel address of the `struct sock`.
    pub socket: u64,
    /// Its inode number.
    pub inode: u64,
}

const _: () = {
    assert!(size_of::<FlowKey>() == 40);
    assert!(size_of::<Flow>() == 136);
    assert!(size_of::<FlowRecord>() == 184);
    assert!(size_of::<TrafficRecord>() == 200);
    assert!(size_of::<ReleaseRecord>() == 32);
};
