//! Every map: what it holds, how large it is, who empties it.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use netspy_common::{
    CountKey, CountValue, Flow, FlowKey, LIMIT_BUCKETS, LossCounters, MAX_COUNTS, MAX_FLOWS, MAX_INFLIGHT,
    MAX_SOCKETS, RING_BYTES, Task,
};
pub use netspy_common::{Inflight, phase};

/// Insert only what is not there, or only what is (uapi/linux/bpf.h).
pub const BPF_NOEXIST: u64 = 1;
pub const BPF_EXIST: u64 = 2;
/// It was there (uapi/asm-generic/errno-base.h).
pub const EEXIST: i32 = -17;

/// What happens to sockets, to the server.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// Dropped packets and other trouble, to the server.
#[map]
pub static DROPS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// Index 0: what could not be delivered, per CPU.
#[map]
pub static LOSS: PerCpuArray<LossCounters> = PerCpuArray::with_max_entries(1, 0);

/// Index 0: whether the server polls by itself (`netspy_common::reader`).
#[map]
pub static READER: Array<u32> = Array::with_max_entries(1, 0);

/// Index 0: whose calls the programs of the connect system call note, a bit for each `netspy_common::subject`; only the
/// server changes it.
#[map]
pub static CONNECTS: Array<u32> = Array::with_max_entries(1, 0);

/// Threads inside a connect call, by `pid_tgid`; each entry is removed when its call returns.
#[map]
pub static INFLIGHT: HashMap<u64, Inflight> = HashMap::with_max_entries(MAX_INFLIGHT, 0);

/// The socket of a thread inside a connect call that found [`INFLIGHT`] full, by `pid_tgid`: its attempt is counted as
/// lost, and must not be recorded as well when its state changes.
#[map]
pub static UNFOLLOWED: LruHashMap<u64, u64> = LruHashMap::with_max_entries(MAX_INFLIGHT, 0);

/// A thread inside a call of another kind of socket: connect, or send.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Call {
    /// The `struct sock`.
    pub socket: u64,
    /// Inode number of its file, or 0 where that was not looked up.
    pub inode: u64,
    /// The address or message that it was given, in memory that stays until the call returns.
    pub argument: u64,
    /// Length of the address of a UNIX socket in bytes.
    pub length: u64,
    /// When the call began.
    pub started_ns: u64,
}

/// When UNIX sockets were connected whose end is going to be told, by inode number; 0 for one from before the programs, which
/// the server puts in. Each entry is removed when its socket is closed.
#[map]
pub static UNIX_SOCKETS: HashMap<u64, u64> = HashMap::with_max_entries(MAX_SOCKETS, 0);

/// Threads inside such a call, by `pid_tgid`; each entry is removed when its call returns.
#[map]
pub static CALLS: HashMap<u64, Call> = HashMap::with_max_entries(MAX_INFLIGHT, 0);

/// Flows of datagrams; each entry is removed by the server when its flow is over.
#[map]
pub static FLOWS: HashMap<FlowKey, Flow> = HashMap::with_max_entries(MAX_FLOWS, 0);

/// Index 0: a flow of nothing. New entries of `FLOWS` are copies of it: a program's stack has no room for one.
#[map]
pub static NEW_FLOW: Array<Flow> = Array::with_max_entries(1, 0);

/// A connection that is followed from its beginning to its close.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Followed {
    /// Its `struct sock` as a number: of a pointer whose type it knows the verifier allows no arithmetic.
    pub socket: u64,
    /// Its cookie, or 0: a later socket may have the same address.
    pub cookie: u64,
    /// When it began.
    pub started_ns: u64,
    /// When its handshake was complete; 0 before.
    pub established_ns: u64,
    /// Who connected it or accepted it; zeroes before it was accepted.
    pub owner: Task,
    /// Who said goodbye first (`netspy_common::closer`).
    pub closer: u32,
    /// `netspy_common::role`
    pub role: u32,
    /// Whether its beginning was reported.
    pub reported: u32,
    /// Its ports (`Socket::ports`); the local one is 0 while it is not known.
    pub ports: u32,
}

/// Followed connections by address of their `struct sock`; each entry is removed when its socket closes.
#[map]
pub static SOCKETS: HashMap<u64, Followed> = HashMap::with_max_entries(MAX_SOCKETS, 0);

/// A connection that is over.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Closed {
    /// Its socket; 0 while the rest is written.
    pub socket: u64,
    /// When it had begun.
    pub started_ns: u64,
    /// Whose it was.
    pub owner: Task,
    /// Its local and remote port: another connection of the same socket has others.
    pub ports: u32,
    /// Explicit padding, always 0.
    pub pad: u32,
}

/// Slots of [`LAST_CLOSED`], a power of two.
pub const CLOSED_SLOTS: u32 = 1024;

/// The connections that were closed last, each in a slot that its socket's address gives. Not per CPU: whoever aborts a
/// connection may be on another one when it sends the RST.
#[map]
pub static LAST_CLOSED: Array<Closed> = Array::with_max_entries(CLOSED_SLOTS, 0);

/// When the next record of a kind, reason and place may be delivered, per CPU: `CLOCK_MONOTONIC` in ns.
#[map]
pub static LIMITS: PerCpuArray<u64> = PerCpuArray::with_max_entries(LIMIT_BUCKETS, 0);

/// Events that were not delivered one by one. The server removes what is of an earlier generation.
#[map]
pub static COUNTS: HashMap<CountKey, CountValue> = HashMap::with_max_entries(MAX_COUNTS, 0);

/// How many there are in all, per CPU: the server looks into `COUNTS` when this has changed.
#[map]
pub static COUNTED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Index 0: the generation in which events are counted now; only the server changes it.
#[map]
pub static GENERATION: Array<u32> = Array::with_max_entries(1, 0);
