//! Trouble on a TCP connection, or with a listener.

use super::{ConnectionKey, RecordHeader, Task, Tuple};

/// One of four things happened to a TCP socket: see the kinds.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TroubleRecord {
    /// Kind [`super::kind::RETRANSMIT`], [`super::kind::RESET_SENT`], [`super::kind::RESET_RECEIVED`] or
    /// [`super::kind::LISTEN_OVERFLOW`].
    pub header: RecordHeader,
    /// The connection or listener; zeroes where no followed socket took part.
    pub key: ConnectionKey,
    /// Owner of that socket; zeroes likewise.
    pub owner: Task,
    /// Seen from the sender of the segment.
    pub tuple: Tuple,
    /// `enum sk_rst_reason` of the running kernel; [`crate::MISSING`] where there is none.
    pub reason: u32,
    /// Inode number of the network namespace, or 0.
    pub netns: u32,
    /// Bytes in a segment that is sent again (`skb->len`), or 0.
    pub length: u32,
    /// Listen queue: connections that wait to be accepted (`sk_ack_backlog`).
    pub backlog: u32,
    /// Listen queue: how many may wait (`sk_max_ack_backlog`).
    pub backlog_limit: u32,
    /// Explicit padding, always 0.
    pub pad: u32,
}

const _: () = assert!(size_of::<TroubleRecord>() == 160);
