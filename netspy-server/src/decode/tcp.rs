//! The records of `netspy_common::record::tcp`.

use netspy_common::{ConnectionKey, role};

use super::{Ends, fields::Fields};
use crate::domain::Thread;

/// What a connection record is the beginning of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An attempt to connect.
    Outbound,
    /// A connection that has arrived at a listener.
    Inbound,
    /// A socket that listens.
    Listener,
}

/// The beginning of a connection, or of listening for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawConnect {
    /// `CLOCK_MONOTONIC` in ns when it began.
    pub time_ns: u64,
    /// Which connection.
    pub key: ConnectionKey,
    /// Who asked; nobody for an inbound one.
    pub thread: Thread,
    /// The socket's own view: source is local and may be unknown.
    pub ends: Ends,
    /// 0, or the errno with which the call failed before anything was sent.
    pub errno: u32,
    /// Inode number of the network namespace, or 0.
    pub netns: u32,
    /// What it is the beginning of.
    pub role: Role,
    /// `SOCK_*`, or 0.
    pub socket_type: u8,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawOutcome {
    /// `CLOCK_MONOTONIC` in ns.
    pub time_ns: u64,
    /// Which connection.
    pub key: ConnectionKey,
    /// From where to where.
    pub ends: Ends,
    /// Whether the peer answered.
    pub established: bool,
    /// Otherwise, the errno that the caller gets; 0 when the caller gave up.
    pub errno: u32,
}

/// A process accepted an inbound connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawAccept {
    /// `CLOCK_MONOTONIC` in ns.
    pub time_ns: u64,
    /// Which connection.
    pub key: ConnectionKey,
    /// Who.
    pub thread: Thread,
}

/// A connection is over, or a listener has stopped listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawClose {
    /// `CLOCK_MONOTONIC` in ns.
    pub time_ns: u64,
    /// Which connection; `started_ns` is 0 for one that was there before the programs.
    pub key: ConnectionKey,
    /// The socket's own view.
    pub ends: Ends,
    /// `CLOCK_MONOTONIC` in ns at the end of the handshake, or 0.
    pub established_ns: u64,
    /// Payload in bytes.
    pub bytes_sent: u64,
    /// Payload in bytes.
    pub bytes_received: u64,
    /// µs, or 0.
    pub srtt_us: u32,
    /// Segments.
    pub retransmits: u32,
    /// `netspy_common::closer`
    pub closer: u32,
    /// The socket's error, or 0.
    pub errno: u32,
    /// Inode number of the network namespace, or 0.
    pub netns: u32,
}

impl Fields<'_> {
    pub(super) fn role(&mut self) -> Role {
        match self.u32() {
            role::INBOUND => Role::Inbound,
            role::LISTENER => Role::Listener,
            _ => Role::Outbound,
        }
    }

    pub(super) fn connect(&mut self, time_ns: u64) -> RawConnect {
        let (key, thread, ends) = (self.key(), self.thread(), self.scoped_ends());
        let (errno, netns) = (self.u32(), self.u32());
        let role = self.role();
        let socket_type = u8::try_from(self.u32()).unwrap_or(0);
        RawConnect { time_ns, key, thread, ends, errno, netns, role, socket_type }
    }

    pub(super) fn outcome(&mut self, time_ns: u64) -> RawOutcome {
        let (key, ends) = (self.key(), self.scoped_ends());
        let (established, errno) = (self.u32() == 1, self.u32());
        RawOutcome { time_ns, key, ends, established, errno }
    }

    pub(super) fn accept(&mut self, time_ns: u64) -> RawAccept {
        RawAccept { time_ns, key: self.key(), thread: self.thread() }
    }

    pub(super) fn close(&mut self, time_ns: u64) -> RawClose {
        RawClose {
            time_ns,
            key: self.key(),
            ends: self.scoped_ends(),
            established_ns: self.u64(),
            bytes_sent: self.u64(),
            bytes_received: self.u64(),
            srtt_us: self.u32(),
            retransmits: self.u32(),
            closer: self.u32(),
            errno: self.u32(),
            netns: self.u32(),
        }
    }
}
