//! The record of `netspy_common::record::count`.

use netspy_common::{MISSING, kind};

use super::fields::Fields;
use crate::domain::{CountedKind, Thread, TroubleKind};

/// Events of which the kernel kept only the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawCount {
    /// `CLOCK_MONOTONIC` in ns when the count was read.
    pub time_ns: u64,
    /// What was counted.
    pub kind: CountedKind,
    /// Address of the kernel code that dropped them, or 0.
    pub location: u64,
    /// The running kernel's number for the reason, where it gives one.
    pub reason: Option<u32>,
    /// Owner of their socket, if that is a followed one.
    pub owner: Option<Thread>,
    /// How many.
    pub count: u64,
}

/// What the records of a kind tell of; `None` for one that is never counted.
pub(super) fn trouble_kind(kind: u16) -> Option<TroubleKind> {
    Some(match kind {
        kind::RETRANSMIT => TroubleKind::Retransmit,
        kind::RESET_SENT => TroubleKind::ResetSent,
        kind::RESET_RECEIVED => TroubleKind::ResetReceived,
        kind::LISTEN_OVERFLOW => TroubleKind::ListenOverflow,
        _ => return None,
    })
}

impl Fields<'_> {
    /// `None` where the record counts what there is no record of.
    pub(super) fn count(&mut self, time_ns: u64) -> Option<RawCount> {
        let (location, _started_ns, _tgid) = (self.u64(), self.u64(), self.u32());
        let kind = u16::try_from(self.u32()).ok()?;
        let kind = match trouble_kind(kind) {
            Some(trouble) => CountedKind::Trouble(trouble),
            None if kind == kind::DROP => CountedKind::Drop,
            None => return None,
        };
        let (reason, _generation) = (self.u32(), self.u32());
        let (count, owner) = (self.u64(), self.thread());
        Some(RawCount {
            time_ns,
            kind,
            location,
            reason: (reason != MISSING).then_some(reason),
            owner: (owner.pid != 0).then_some(owner),
            count,
        })
    }
}
