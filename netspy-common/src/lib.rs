//! The binary interface between the eBPF programs and the server: every byte that crosses from kernel to
//! user space, and nothing else. No policy, no formatting, no std.
//!
//! Records are `repr(C)`, explicitly padded and free of `bool`, `usize` and enums, so that any bit pattern
//! is a valid value; the server checks lengths, version and discriminants before it believes one. A change
//! to any layout here raises [`ABI_VERSION`].
#![no_std]
#![warn(missing_docs)]

mod layout;
mod record;

pub use layout::{KernelLayout, MISSING};
pub use record::{
    ConnectRecord, ConnectionKey, DropRecord, OutcomeRecord, RecordHeader, Task, Tuple, kind, ring,
};

/// Version of every layout in this crate; the first field of each record.
pub const ABI_VERSION: u16 = 1;

/// Bytes of a thread's name, the terminating NUL included (`TASK_COMM_LEN`, include/linux/sched.h).
pub const COMM_LEN: usize = 16;

/// Capacity of each ring buffer in bytes: a power of two and a multiple of the page size.
pub const RING_BYTES: u32 = 8 << 20;

/// Sockets whose connect is being followed at once; more are counted as [`loss::SOCKETS_FULL`].
pub const MAX_SOCKETS: u32 = 65_536;

/// Threads that can be inside connect at once; more are counted as [`loss::INFLIGHT_FULL`].
pub const MAX_INFLIGHT: u32 = 8_192;

/// Indexes of the per-CPU loss counters (map `LOSS`): each place in the kernel that can lose something.
pub mod loss {
    /// A connection record found its ring full.
    pub const EVENTS_RING_FULL: u32 = 0;
    /// A drop record found its ring full.
    pub const DROPS_RING_FULL: u32 = 1;
    /// A connect attempt could not be followed: too many sockets.
    pub const SOCKETS_FULL: u32 = 2;
    /// A connect attempt could not be followed: too many threads inside connect.
    pub const INFLIGHT_FULL: u32 = 3;
    /// A connect was entered but its return was never seen (kretprobe instances used up).
    pub const RETURN_MISSED: u32 = 4;
    /// Number of counters.
    pub const COUNT: u32 = 5;
}

/// Values of the reader's state (map `READER`, index 0).
pub mod reader {
    /// The reader polls by itself: a program must not wake it.
    pub const AWAKE: u32 = 0;
    /// The reader blocks: the next record must wake it.
    pub const ASLEEP: u32 = 1;
}
