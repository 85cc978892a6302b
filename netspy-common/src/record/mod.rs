//! The records in the ring buffers: what all of them share here, each kind in the file of its concern.

mod count;
mod datagram;
mod drop;
mod process;
mod tcp;
mod trouble;
mod unix;

pub use count::{CountKey, CountRecord, CountValue};
pub use datagram::{Flow, FlowKey, FlowRecord, ReleaseRecord, TrafficRecord};
pub use drop::{DropRecord, direction};
pub use process::{ExecRecord, ExitRecord, ForkRecord};
pub use tcp::{AcceptRecord, CloseRecord, ConnectRecord, OutcomeRecord};
pub use trouble::TroubleRecord;
pub use unix::{UnixCloseRecord, UnixRecord};

use crate::COMM_LEN;

/// Discriminants of [`RecordHeader::kind`].
pub mod kind {
    /// [`super::ConnectRecord`]
    pub const CONNECT: u16 = 1;
    /// [`super::OutcomeRecord`]
    pub const OUTCOME: u16 = 2;
    /// [`super::DropRecord`]
    pub const DROP: u16 = 3;
    /// [`super::AcceptRecord`]
    pub const ACCEPT: u16 = 4;
    /// [`super::CloseRecord`]
    pub const CLOSE: u16 = 5;
    /// [`super::ForkRecord`]
    pub const FORK: u16 = 30;
    /// [`super::ExecRecord`]
    pub const EXEC: u16 = 31;
    /// [`super::ExitRecord`]
    pub const EXIT: u16 = 32;
    /// [`super::CountRecord`]
    pub const COUNT: u16 = 20;
    /// [`super::TroubleRecord`]: a segment was sent again.
    pub const RETRANSMIT: u16 = 21;
    /// [`super::TroubleRecord`]: this machine sent a RST.
    pub const RESET_SENT: u16 = 22;
    /// [`super::TroubleRecord`]: a RST ended a connection of this machine.
    pub const RESET_RECEIVED: u16 = 23;
    /// [`super::TroubleRecord`]: a listener had no room for a connection.
    pub const LISTEN_OVERFLOW: u16 = 24;
    /// [`super::UnixRecord`]
    pub const UNIX: u16 = 40;
    /// [`super::FlowRecord`]
    pub const FLOW: u16 = 41;
    /// [`super::TrafficRecord`]
    pub const TRAFFIC: u16 = 42;
    /// [`super::ReleaseRecord`]
    pub const RELEASE: u16 = 43;
    /// [`super::UnixCloseRecord`]
    pub const UNIX_CLOSE: u16 = 44;
}

/// Values of [`ConnectRecord::role`].
pub mod role {
    /// The owner called connect (or sent first).
    pub const OUTBOUND: u32 = 0;
    /// The peer did; the owner listens.
    pub const INBOUND: u32 = 1;
    /// Not a connection: the owner listens for them.
    pub const LISTENER: u32 = 2;
}

/// Values of [`CloseRecord::closer`]; a UNIX socket says goodbye when it is closed.
pub mod closer {
    /// Nobody said goodbye: reset, timeout, abort; see [`super::CloseRecord::errno`].
    pub const NOBODY: u32 = 0;
    /// This end sent the first FIN.
    pub const LOCAL: u32 = 1;
    /// The peer sent the first FIN.
    pub const REMOTE: u32 = 2;
}

/// The two rings: a flood in one cannot starve the other.
pub mod ring {
    /// Everything that happens to sockets and processes (map `EVENTS`).
    pub const EVENTS: u8 = 0;
    /// Dropped packets and other trouble (map `DROPS`).
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
    /// Which of the programs that the process has executed (low half of `task->self_exec_id`): grows with each
    /// exec, is inherited by a fork.
    pub exec_id: u32,
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

/// One program in one process: no other, before or after, has the same three.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessId {
    /// Process id (`task->tgid`).
    pub tgid: u32,
    /// As in [`Task::exec_id`].
    pub exec_id: u32,
    /// As in [`Task::started_ns`].
    pub started_ns: u64,
}

/// Both ends of a packet or socket, seen from its sender.
///
/// A socket's link-local IPv6 address (`fe80::/10`) belongs to an interface. Bytes 2 to 7 of such an address are zero
/// (RFC 4291 §2.5.6): in records of connections the interface's index stands from [`Tuple::SCOPE_AT`] on, in the
/// machine's byte order. The addresses in packets are as they came.
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

impl Tuple {
    /// First of the four bytes of a socket's link-local address that hold its interface.
    pub const SCOPE_AT: usize = 4;
}

/// Names one connection of one socket for as long as the system is up.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionKey {
    /// Kernel address of the `struct sock`; never leaves the server.
    pub socket: u64,
    /// `CLOCK_MONOTONIC` in ns when it began; 0 for a socket that was there before the programs.
    pub started_ns: u64,
}

const _: () = {
    assert!(size_of::<RecordHeader>() == 16);
    assert!(size_of::<Task>() == 64);
    assert!(size_of::<ProcessId>() == 16);
    assert!(size_of::<Tuple>() == 40);
};
