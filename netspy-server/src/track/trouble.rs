//! Trouble and counts: both come with all that there is to know, and wait for nothing.

use std::sync::Arc;

use super::Tracker;
use crate::{
    decode::{RawCount, RawTrouble},
    domain::{Attribution, Batch, Counted, Process, Trouble},
};

impl Tracker {
    /// A retransmission, a RST or a full listen queue: a new row in `batch`. The owner is the socket's or nobody:
    /// both ends of a connection within this machine have the same tuple, and only one of them did it.
    pub fn trouble(
        &mut self,
        raw: &RawTrouble,
        owner: Option<Arc<Process>>,
        reason: Option<String>,
        batch: &mut Batch,
    ) {
        let wall_ns = self.wall_ns(raw.time_ns);
        batch.troubles.push(Trouble {
            id: self.next_id(wall_ns),
            kind: raw.kind,
            monotonic_ns: raw.time_ns,
            wall_ns,
            attribution: if owner.is_some() { Attribution::Socket } else { Attribution::None },
            owner,
            reason,
            family: raw.ends.family,
            source: raw.ends.source,
            destination: raw.ends.destination,
            netns: raw.netns,
            length: raw.length,
            backlog: raw.backlog,
        });
    }

    /// Events without records: a new row in `batch`.
    pub fn counted(
        &mut self,
        raw: &RawCount,
        owner: Option<Arc<Process>>,
        reason: String,
        location: String,
        batch: &mut Batch,
    ) {
        let wall_ns = self.wall_ns(raw.time_ns);
        let (id, kind, count) = (self.next_id(wall_ns), raw.kind, raw.count);
        batch.counted.push(Counted { id, wall_ns, kind, reason, location, owner, count });
    }
}
