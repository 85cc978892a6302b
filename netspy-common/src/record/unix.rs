//! Connects of UNIX sockets, and their end.

use super::{RecordHeader, Task};
use crate::UNIX_PATH_LEN;

/// A process connected a UNIX socket, or could not; [`RecordHeader::time_ns`] is when the call returned.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixRecord {
    /// Kind [`super::kind::UNIX`].
    pub header: RecordHeader,
    /// Inode number of the socket.
    pub inode: u64,
    /// When the call began: `CLOCK_MONOTONIC` in ns.
    pub started_ns: u64,
    /// Who connected.
    pub task: Task,
    /// 0, or the errno that the call returned; 512 (`ERESTARTSYS`) for a signal that interrupted it.
    pub errno: u32,
    /// Inode number of the socket's network namespace; 0 where unknown.
    pub netns: u32,
    /// `SOCK_STREAM` (1), `SOCK_DGRAM` (2) or `SOCK_SEQPACKET` (5).
    pub socket_type: u16,
    /// Whether its end is going to be told, as a [`UnixCloseRecord`].
    pub watched: u16,
    /// Process id of the peer, in the initial pid namespace (`sk->sk_peer_pid`); 0 where the kernel does not
    /// know it, as for datagrams.
    pub peer_pid: u32,
    /// Bytes of `path` that the caller gave, at most [`UNIX_PATH_LEN`].
    pub path_len: u32,
    /// `sun_path` as the caller gave it (uapi/linux/un.h): a path, NUL-terminated or not, or a NUL and then any
    /// bytes for an abstract name.
    pub path: [u8; UNIX_PATH_LEN],
}

/// A connected UNIX socket was closed, or lost its peer (datagrams: `AF_UNSPEC`, or another one instead), at
/// [`RecordHeader::time_ns`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixCloseRecord {
    /// Kind [`super::kind::UNIX_CLOSE`].
    pub header: RecordHeader,
    /// As in [`UnixRecord::inode`].
    pub inode: u64,
    /// As in [`UnixRecord::started_ns`]; 0 for one that was connected before the programs ran.
    pub started_ns: u64,
    /// [`super::closer::REMOTE`] if its peer had been closed before, [`super::closer::LOCAL`] otherwise.
    pub closer: u32,
    /// Error that waited to be read (`sk->sk_err`), or 0: ECONNRESET if the peer left something unread.
    pub errno: u32,
}

const _: () = {
    assert!(size_of::<UnixCloseRecord>() == 40);
    assert!(size_of::<UnixRecord>() == 224);
    assert!(core::mem::offset_of!(UnixRecord, errno) == 96);
};
