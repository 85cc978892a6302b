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
    ReleaseRecord, Task, TrafficRecord, TroubleRecord, Tuple, UnixRecord, closer, direction, kind, ring,
    role,
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

/// Connections that are followed at once; more are counted as [`loss::SOCKETS_FULL`].
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

/// Indexes of the per-CPU loss counters (map `LOSS`): each place in the kernel that can lose something.
pub mod loss {
    /// A connection record found its ring full.
    pub const EVENTS_RING_FULL: u32 = 0;
    /// A drop record found its ring full.
    pub const DROPS_RING_FULL: u32 = 1;
    /// A connection could not be followed: there are too many.
    pub const SOCKETS_FULL: u32 = 2;
    /// A connect attempt could not be followed: too many threads inside connect.
    pub const INFLIGHT_FULL: u32 = 3;
    /// A connect was entered but its return was never seen (kretprobe instances used up).
    pub const RETURN_MISSED: u32 = 4;
    /// A record of a process found the ring full: what it runs, or who made it, may stay unknown.
    pub const PROCESSES_RING_FULL: u32 = 5;
    /// An event that was not reported could not be counted either: too many kinds of them.
    pub const COUNTS_FULL: u32 = 6;
    /// A packet belonged to no flow that is counted: there are too many.
    pub const FLOWS_FULL: u32 = 7;
    /// Number of counters.
    pub const COUNT: u32 = 8;
}

/// Values of the reader's state (map `READER`, index 0).
pub mod reader {
    /// The reader polls by itself: a program must not wake it.
    pub const AWAKE: u32 = 0;
    /// The reader blocks: the next record must wake it.
    pub const ASLEEP: u32 = 1;
}
