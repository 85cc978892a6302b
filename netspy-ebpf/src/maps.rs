//! Every map: what it holds, how large it is, who empties it.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use netspy_common::{MAX_INFLIGHT, MAX_SOCKETS, RING_BYTES, Task, loss};

/// Connects and outcomes, to the server.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// Dropped packets, to the server.
#[map]
pub static DROPS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// What could not be delivered, per CPU, by index of [`loss`].
#[map]
pub static LOSS: PerCpuArray<u64> = PerCpuArray::with_max_entries(loss::COUNT, 0);

/// Index 0: whether the server polls by itself (`netspy_common::reader`).
#[map]
pub static READER: Array<u32> = Array::with_max_entries(1, 0);

/// A thread inside a connect call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Inflight {
    /// The socket.
    pub socket: u64,
    /// When the call began.
    pub started_ns: u64,
    /// Destination that the caller named; IPv4 in the first four bytes.
    pub destination: [u8; 16],
    /// Its port in host order.
    pub port: u16,
    /// Its family, or 0.
    pub family: u16,
    /// One of [`phase`].
    pub phase: u32,
}

/// How far a connect call has come.
pub mod phase {
    /// Nothing was reported yet.
    pub const CALLED: u32 = 0;
    /// The attempt was reported; its outcome comes with a state change.
    pub const REPORTED: u32 = 1;
    /// The attempt was reported and the kernel took it back; the call's return value says why.
    pub const TAKEN_BACK: u32 = 2;
}

/// Threads inside a connect call, by `pid_tgid`; each entry is removed when its call returns.
#[map]
pub static INFLIGHT: HashMap<u64, Inflight> = HashMap::with_max_entries(MAX_INFLIGHT, 0);

/// A socket that a process connected.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Followed {
    /// When the attempt began.
    pub started_ns: u64,
    /// 1 once the outcome was reported.
    pub settled: u64,
    /// Who connected it.
    pub owner: Task,
}

/// Followed sockets by address of their `struct sock`; each entry is removed when its socket closes.
#[map]
pub static SOCKETS: HashMap<u64, Followed> = HashMap::with_max_entries(MAX_SOCKETS, 0);
