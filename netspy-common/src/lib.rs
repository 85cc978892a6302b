//! The binary interface between the eBPF programs and the server: every byte that crosses from kernel to
//! user space, and nothing else. No policy, no formatting, no std.
//!
//! Records are `repr(C)`, explicitly padded and free of `bool`, `usize` and enums, so that any bit pattern
//! is a valid value; the server checks lengths, version and discriminants before it believes one. A change
//! to any layout here raises [`ABI_VERSION`].
#![no_std]
#![warn(missing_docs)]

mod inflight;
mod layout;
mod record;

pub use inflight::{Inflight, phase};
pub use layout::{KernelLayout, MISSING};
pub use record::{
    AcceptRecord, CloseRecord, ConnectRecord, ConnectionKey, CountKey, CountRecord, CountValue, DropRecord,
    ExecRecord, ExitRecord, Flow, FlowKey, FlowRecord, ForkRecord, OutcomeRecord, ProcessId, RecordHeader,
    ReleaseRecord, Task, TrafficRecord, TroubleRecord, Tuple, UnixCloseRecord, UnixRecord, closer, direction,
    kind, ring, role,
};

/// Version of every layout in this crate; the first field of each record.
pub const ABI_VERSION: u16 = 3;

/// Bytes of a thread's name, the terminating NUL included (`TASK_COMM_LEN`, include/linux/sched.h).
pub const COMM_LEN: usize = 16;

/// Bytes of a path's component, the terminating NUL included (`NAME_MAX`, include/uapi/linux/limits.h).
pub const NAME_LEN: usize = 256;

/// Bytes for the path of an executable: 512, and the component that passes them.
pub const PATH_LEN: usize = 512 + NAME_LEN;

/// Bytes kept of a process's arguments.
pub const ARGUMENTS_LEN: usize = 512;
/// Bytes of an interface's name, the terminating NUL included (`IFNAMSIZ`, include/uapi/linux/if.h).
pub const INTERFACE_NAME_LEN: usize = 16;

/// Bytes of the name in a UNIX socket's address (`UNIX_PATH_MAX`, include/uapi/linux/un.h).
pub const UNIX_PATH_LEN: usize = 108;

/// Capacity of each ring buffer in bytes: a power of two and a multiple of the page size.
pub const RING_BYTES: u32 = 8 << 20;

/// Connections that are followed at once, and as many of UNIX sockets; more are counted as [`loss::SOCKETS_FULL`].
pub const MAX_SOCKETS: u32 = 65_536;

/// Flows of datagrams that are counted at once; packets of more are counted as [`loss::FLOWS_FULL`].
pub const MAX_FLOWS: u32 = 32_768;

/// Threads that can be inside connect at once; more are counted as [`loss::INFLIGHT_FULL`].
pub const MAX_INFLIGHT: u32 = 8_192;

/// Kinds of events, reasons, places and owners that are counted at once; more are counted as
/// [`loss::COUNTS_FULL`].
pub const MAX_COUNTS: u32 = 8_192;

/// Under a flood so many records a second of one kind, reason and place are delivered from each CPU; the others
/// are only counted (map `COUNTS`).
pub const RECORDS_PER_SECOND: u64 = 4_000;

/// So many may come at once after a quiet time.
pub const RECORDS_AT_ONCE: u64 = 8_000;

/// Limits that kinds, reasons and places share: few occur on one machine.
pub const LIMIT_BUCKETS: u32 = 256;

/// Places in the kernel that can lose something: first index of [`LossCounters`].
pub mod loss {
    /// A record found its ring full.
    pub const RING_FULL: u32 = 0;
    /// A connection could not be followed: there are too many.
    pub const SOCKETS_FULL: u32 = 1;
    /// A call could not be followed: too many threads are inside one.
    pub const INFLIGHT_FULL: u32 = 2;
    /// A call was entered but its return was never seen (kretprobe instances used up).
    pub const RETURN_MISSED: u32 = 3;
    /// An event that was not reported could not be counted either: too many kinds of them.
    pub const COUNTS_FULL: u32 = 4;
    /// A packet belonged to no flow that is counted: there are too many.
    pub const FLOWS_FULL: u32 = 5;
    /// Number of places.
    pub const PLACES: usize = 6;
}

/// What it was that was lost: second index of [`LossCounters`].
pub mod subject {
    use crate::kind;

    /// A TCP connection's beginning, outcome or end.
    pub const CONNECTION: u32 = 0;
    /// The owner of an inbound one.
    pub const ACCEPT: u32 = 1;
    /// A connect of a UNIX socket, or its end.
    pub const UNIX: u32 = 2;
    /// A flow of UDP datagrams.
    pub const UDP: u32 = 3;
    /// A flow of ICMP echoes or of a raw socket.
    pub const RAW: u32 = 4;
    /// What a process runs, or who made it: names of later events may stay unknown.
    pub const PROCESS: u32 = 5;
    /// A dropped packet.
    pub const DROP: u32 = 6;
    /// A segment sent again.
    pub const RETRANSMIT: u32 = 7;
    /// A RST that was sent.
    pub const RESET_SENT: u32 = 8;
    /// A RST that was received.
    pub const RESET_RECEIVED: u32 = 9;
    /// A full listen queue.
    pub const LISTEN_OVERFLOW: u32 = 10;
    /// Number of subjects.
    pub const SUBJECTS: usize = 11;

    /// What a record of this [`kind`] in the ring of drops is about.
    pub const fn of_trouble(of: u16) -> u32 {
        match of {
            kind::RETRANSMIT => RETRANSMIT,
            kind::RESET_SENT => RESET_SENT,
            kind::RESET_RECEIVED => RESET_RECEIVED,
            kind::LISTEN_OVERFLOW => LISTEN_OVERFLOW,
            _ => DROP,
        }
    }
}

/// How often each place lost each subject, on one CPU (map `LOSS`, index 0).
pub type LossCounters = [[u64; subject::SUBJECTS]; loss::PLACES];

/// Values of the reader's state (map `READER`, index 0).
pub mod reader {
    /// The reader polls by itself: a program must not wake it.
    pub const AWAKE: u32 = 0;
    /// The reader blocks: the next record must wake it.
    pub const ASLEEP: u32 = 1;
}
