//! Connects of UNIX sockets: each is known completely when its call returns.

use std::sync::Arc;

use super::Tracker;
use crate::{
    decode::RawUnix,
    domain::{Batch, Connection, Outcome, Process, Stage},
};

impl Tracker {
    /// A UNIX socket was connected, or could not be: a new row in `batch`.
    pub fn unix(&mut self, raw: &RawUnix, process: Arc<Process>, batch: &mut Batch) {
        let started_ns = raw.key.started_ns;
        let wall_ns = self.wall_ns(started_ns);
        let latency_ns = raw.time_ns.saturating_sub(started_ns);
        batch.connections.push(Connection {
            id: self.next_id(wall_ns),
            monotonic_ns: started_ns,
            wall_ns,
            process,
            family: libc::AF_UNIX as u16,
            socket_type: raw.socket_type,
            path: raw.path.clone(),
            peer_pid: raw.peer_pid,
            netns: raw.netns,
            outcome: match raw.errno {
                0 => Outcome::Established { latency_ns },
                errno => Outcome::Failed { errno, stage: Stage::of_call(errno), after_ns: latency_ns },
            },
            ..Connection::default()
        });
    }
}
