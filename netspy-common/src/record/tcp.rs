//! The life of a TCP connection, either end.

use super::{ConnectionKey, RecordHeader, Task, Tuple};

/// A connection begins. Outbound: a process asked for it, [`RecordHeader::time_ns`] is when. Inbound: its
/// handshake is complete, [`RecordHeader::time_ns`] is when, and nobody has accepted it yet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRecord {
    /// Kind [`super::kind::CONNECT`].
    pub header: RecordHeader,
    /// Which connection.
    pub key: ConnectionKey,
    /// Who asked; zeroes for an inbound one.
    pub task: Task,
    /// The socket's own view, source is local; the source of an outbound one may still be unknown.
    pub tuple: Tuple,
    /// 0, or the errno with which the kernel refused at once (nothing was sent, no outcome follows).
    pub errno: u32,
    /// Inode number of the socket's network namespace; 0 where unknown.
    pub netns: u32,
    /// One of [`super::role`].
    pub role: u32,
    /// `sk->sk_type`: `SOCK_STREAM` (1), `SOCK_DGRAM` (2), `SOCK_RAW` (3), `SOCK_SEQPACKET` (5).
    pub socket_type: u32,
}

/// What became of an attempt. [`RecordHeader::time_ns`] is when that was known.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutcomeRecord {
    /// Kind [`super::kind::OUTCOME`].
    pub header: RecordHeader,
    /// Which connection.
    pub key: ConnectionKey,
    /// The complete tuple.
    pub tuple: Tuple,
    /// 1 when the connection was established, 0 when it failed.
    pub established: u32,
    /// The errno the caller gets (`sk->sk_err`); 0 with `established` 0: the caller itself gave up.
    pub errno: u32,
}

/// A process took an inbound connection from the queue of its listener, at [`RecordHeader::time_ns`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptRecord {
    /// Kind [`super::kind::ACCEPT`].
    pub header: RecordHeader,
    /// Which connection.
    pub key: ConnectionKey,
    /// Who accepted it.
    pub task: Task,
}

/// A connection is over, at [`RecordHeader::time_ns`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseRecord {
    /// Kind [`super::kind::CLOSE`].
    pub header: RecordHeader,
    /// Which connection; `started_ns` is 0 for one that was there before the programs.
    pub key: ConnectionKey,
    /// The socket's own view, source is local.
    pub tuple: Tuple,
    /// `CLOCK_MONOTONIC` in ns at the end of the handshake; 0 where that was not seen.
    pub established_ns: u64,
    /// Payload sent, retransmissions not counted twice (`bytes_sent - bytes_retrans` of `tcp_sock`).
    pub bytes_sent: u64,
    /// Payload received in order (`bytes_received` of `tcp_sock`).
    pub bytes_received: u64,
    /// Smoothed round-trip time in µs (`srtt_us >> 3`); 0 where none was measured.
    pub srtt_us: u32,
    /// Segments sent again (`total_retrans`).
    pub retransmits: u32,
    /// One of [`super::closer`].
    pub closer: u32,
    /// `sk->sk_err` at the end: `ECONNRESET`, `ETIMEDOUT`, …; 0 for a regular close and for an abort by this end.
    pub errno: u32,
    /// Inode number of the network namespace; 0 where unknown.
    pub netns: u32,
    /// Explicit padding, always 0.
    pub pad: u32,
}

const _: () = {
    assert!(size_of::<ConnectRecord>() == 152);
    assert!(core::mem::offset_of!(ConnectRecord, errno) == 136);
    assert!(size_of::<OutcomeRecord>() == 80);
    assert!(size_of::<AcceptRecord>() == 96);
    assert!(size_of::<CloseRecord>() == 120);
};
