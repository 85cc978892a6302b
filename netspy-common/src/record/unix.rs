//! Connects of UNIX sockets.

use super::{ConnectionKey, RecordHeader, Task};
use crate::UNIX_PATH_LEN;

/// A process connected a UNIX socket, or could not; [`RecordHeader::time_ns`] is when the call returned,
/// [`ConnectionKey::started_ns`] when it began.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixRecord {
    /// Kind [`super::kind::UNIX`].
    pub header: RecordHeader,
    /// Which socket, and when.
    pub key: ConnectionKey,
    /// Who connected.
    pub task: Task,
    /// 0, or the errno that the call returned; 512 (`ERESTARTSYS`) for a signal that interrupted it.
    pub errno: u32,
    /// Inode number of the socket's network namespace; 0 where unknown.
    pub netns: u32,
    /// `SOCK_STREAM` (1), `SOCK_DGRAM` (2) or `SOCK_SEQPACKET` (5).
    pub socket_type: u32,
    /// Process id of the peer, in the initial pid namespace (`sk->sk_peer_pid`); 0 where the kernel does not
    /// know it, as for datagrams.
    pub peer_pid: u32,
    /// Bytes of `path` that the caller gave, at most [`UNIX_PATH_LEN`].
    pub path_len: u32,
    /// `sun_path` as the caller gave it (uapi/linux/un.h): a path, NUL-terminated or not, or a NUL and then any
    /// bytes for an abstract name.
    pub path: [u8; UNIX_PATH_LEN],
}

const _: () = {
    assert!(size_of::<UnixRecord>() == 224);
    assert!(core::mem::offset_of!(UnixRecord, errno) == 96);
};
