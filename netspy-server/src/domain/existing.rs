//! Sockets that were there before netspy, and those that listen now.

use serde::{Deserialize, Serialize};

use super::{Endpoint, Thread};

/// What an existing socket does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// It is connected, and its owner asked for that.
    Outbound,
    /// It is connected, and the peer asked for that: a listener has its local address.
    Inbound,
    /// It waits for the peer's answer.
    Connecting,
    /// Its owner has closed it, and the kernel finishes it alone; or it is of `AF_UNIX`, and its peer is gone.
    Closing,
    /// It waits: for connections, or for datagrams from anybody.
    Listener,
}

/// A socket as `NETLINK_SOCK_DIAG` (`sock_diag(7)`) and `/proc` show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExistingSocket {
    /// What it does.
    pub role: Role,
    /// `AF_UNIX` (1), `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// IP protocol number; 0 for `AF_UNIX`.
    pub protocol: u8,
    /// `SOCK_STREAM` (1), `SOCK_DGRAM` (2), `SOCK_SEQPACKET` (5).
    pub socket_type: u8,
    /// Local end.
    pub local: Option<Endpoint>,
    /// Remote end of a connected one.
    pub remote: Option<Endpoint>,
    /// `AF_UNIX`: where it listens, or what it is connected to; an abstract name begins with `@`.
    pub path: Option<String>,
    /// `AF_UNIX`: process id of the peer.
    pub peer_pid: Option<u32>,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Inode number of the socket (`socket:[…]` in `/proc/*/fd`).
    pub inode: u32,
    /// A process that has it open; several may, the one with the lowest pid is shown.
    pub owner: Option<Thread>,
    /// TCP and UNIX listeners: connections that wait to be accepted.
    pub backlog: Option<u32>,
    /// TCP and UNIX listeners: how many may.
    pub backlog_limit: Option<u32>,
}
