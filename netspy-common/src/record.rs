//! The records in the ring buffers.

use crate::COMM_LEN;

/// Discriminants of [`RecordHeader::kind`].
pub mod kind {
    /// [`super::ConnectRecord`]
    pub const CONNECT: u16 = 1;
    /// [`super::OutcomeRecord`]
    pub const OUTCOME: u16 = 2;
    /// [`super::DropRecord`]
    pub const DROP: u16 = 3;
}

/// The two rings: a flood in one cannot starve the other.
pub mod ring {
    /// Connects and their outcomes (map `EVENTS`).
    pub const EVENTS: u8 = 0;
    /// Dropped packets (map `DROPS`).
    pub const DROPS: u8 = 1;
}

/// First bytes of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// [`crate::ABI_VERSION`] of the program that wrote it.
    pub abi: u16,
    /// One of [`kind`].
    pub kind: u16,
    /// Length of the whole record in bytes, this header included.
    pub len: u32,
    /// `CLOCK_MONOTONIC` in ns when it happened.
    pub time_ns: u64,
}

/// Who: read from `current` at the moment of the event.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Process id (`task->tgid`); 0 means that nobody is known.
    pub tgid: u32,
    /// Thread id (`task->pid`).
    pub tid: u32,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// Explicit padding, always 0.
    pub pad: u32,
    /// Id of the cgroup in the unified hierarchy (its kernfs inode); 0 where unknown.
    pub cgroup_id: u64,
    /// When the process was started: ns since boot (`group_leader->start_boottime`); 0 where unknown.
    /// With `tgid` it names one process for ever: pids are reused, this pair is not.
    pub started_ns: u64,
    /// Name of the thread, NUL-padded.
    pub comm: [u8; COMM_LEN],
    /// Name of the process (its first thread's), NUL-padded.
    pub process: [u8; COMM_LEN],
}

/// Both ends of a packet or socket, seen from its sender.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Source address in network order; IPv4 in the first four bytes.
    pub source: [u8; 16],
    /// Destination address, the same.
    pub destination: [u8; 16],
    /// Source port in host order; 0 where unknown or meaningless.
    pub source_port: u16,
    /// Destination port in host order; 0 where unknown or meaningless.
    pub destination_port: u16,
    /// `AF_INET` (2), `AF_INET6` (10), or 0 where there is no trustworthy address.
    pub family: u16,
    /// IP protocol number (6 TCP, 17 UDP, …); 0 where unknown.
    pub protocol: u16,
}

/// Names one connect on one socket for as long as the system is up.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionKey {
    /// Kernel address of the `struct sock`; never leaves the server.
    pub socket: u64,
    /// `CLOCK_MONOTONIC` in ns when the connect began.
    pub started_ns: u64,
}

/// A process asked for an outbound TCP connection. [`RecordHeader::time_ns`] is when the attempt began.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRecord {
    /// Kind [`kind::CONNECT`].
    pub header: RecordHeader,
    /// Which connect.
    pub key: ConnectionKey,
    /// Who asked.
    pub task: Task,
    /// From where to where; the source may still be unknown.
    pub tuple: Tuple,
    /// 0, or the errno with which the kernel refused at once (nothing was sent, no outcome follows).
    pub errno: u32,
    /// Inode number of the socket's network namespace; 0 where unknown.
    pub netns: u32,
}

/// What became of an attempt. [`RecordHeader::time_ns`] is when that was known.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutcomeRecord {
    /// Kind [`kind::OUTCOME`].
    pub header: RecordHeader,
    /// Which connect.
    pub key: ConnectionKey,
    /// The complete tuple.
    pub tuple: Tuple,
    /// 1 when the connection was established, 0 when it failed.
    pub established: u32,
    /// The errno the caller gets (`sk->sk_err`); 0 with `established` 0: the caller itself gave up.
    pub errno: u32,
}

/// The kernel threw a packet away (`skb:kfree_skb`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropRecord {
    /// Kind [`kind::DROP`].
    pub header: RecordHeader,
    /// Address of the kernel code that dropped it.
    pub location: u64,
    /// The connect whose socket the packet belongs to; zeroes where the packet names no followed socket.
    pub key: ConnectionKey,
    /// Owner of that socket; zeroes likewise.
    pub owner: Task,
    /// From the packet's headers, or from its socket when it has none yet.
    pub tuple: Tuple,
    /// `enum skb_drop_reason` of the running kernel; [`crate::MISSING`] where the kernel gives none.
    pub reason: u32,
    /// Bytes in the packet (`skb->len`).
    pub length: u32,
    /// Interface index (`skb->dev`), or 0.
    pub interface: u32,
    /// Inode number of the network namespace, or 0.
    pub netns: u32,
    /// `EtherType` in host order (`skb->protocol`), or 0.
    pub ether_type: u32,
    /// Explicit padding, always 0.
    pub pad: u32,
}

const _: () = {
    assert!(size_of::<RecordHeader>() == 16);
    assert!(size_of::<Task>() == 64);
    assert!(size_of::<Tuple>() == 40);
    assert!(size_of::<ConnectRecord>() == 144);
    assert!(size_of::<OutcomeRecord>() == 80);
    assert!(size_of::<DropRecord>() == 168);
    assert!(core::mem::offset_of!(ConnectRecord, errno) == 136);
    assert!(core::mem::offset_of!(DropRecord, reason) == 144);
};
