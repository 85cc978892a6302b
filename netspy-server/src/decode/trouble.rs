//! The record of `netspy_common::record::trouble`.

use netspy_common::MISSING;

use super::{Ends, fields::Fields};
use crate::domain::{Backlog, Thread, TroubleKind};

/// A retransmission, a RST or a full listen queue as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTrouble {
    /// `CLOCK_MONOTONIC` in ns.
    pub time_ns: u64,
    /// What happened.
    pub kind: TroubleKind,
    /// Owner of the socket, if that is a followed one.
    pub owner: Option<Thread>,
    /// Sender and receiver of the segment.
    pub ends: Ends,
    /// The running kernel's number for the reason, where it gives one.
    pub reason: Option<u32>,
    /// Inode number of the network namespace, or 0.
    pub netns: u32,
    /// Bytes in a segment that was sent again, or 0.
    pub length: u32,
    /// How full the listener's queue is, where it is about one.
    pub backlog: Option<Backlog>,
}

impl Fields<'_> {
    pub(super) fn trouble(&mut self, time_ns: u64, kind: TroubleKind) -> RawTrouble {
        let _key = self.key();
        let (owner, ends) = (self.thread(), self.ends());
        let (reason, netns, length) = (self.u32(), self.u32(), self.u32());
        let backlog = Backlog { waiting: self.u32(), limit: self.u32() };
        RawTrouble {
            time_ns,
            kind,
            owner: (owner.pid != 0).then_some(owner),
            ends,
            reason: (reason != MISSING).then_some(reason),
            netns,
            length,
            backlog: (kind == TroubleKind::ListenOverflow).then_some(backlog),
        }
    }
}
