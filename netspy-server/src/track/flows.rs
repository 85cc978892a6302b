//! Flows of datagrams: what passes between one socket and one remote end, from the first packet or the connect to
//! the close of the socket, or until nothing has passed for a while.
//!
//! Counters are in the kernel. The tracker says which it wants read, and gets them back as records.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use netspy_common::{Flow, FlowKey, MAX_FLOWS};

use super::{Tracker, put};
use crate::{
    decode::{RawFlow, RawRelease, RawTraffic, Role},
    domain::{
        Batch, Close, Connection, Direction, Ending, FlowReading, LossKind, LossPlace, Outcome, Process,
        Stage, Traffic,
    },
};

/// A flow over which nothing has passed for so long is over, in ns (`nf_conntrack_udp_timeout` is as long).
const IDLE_NS: u64 = 30_000_000_000;
/// Connected sockets that are never used are flows too, and are not bounded by the kernel's map.
const MAX_OPEN: usize = 2 * MAX_FLOWS as usize;

/// A flow that is not over.
struct Open {
    connection: Connection,
    /// Where in the batch it may still lie.
    row: usize,
    /// Whether the kernel counts its traffic.
    counted: bool,
    /// The latest packet or error of the last reading, or the beginning.
    last_ns: u64,
    /// When its socket was closed.
    released_ns: Option<u64>,
}

/// Every flow that is not over.
#[derive(Default)]
pub(super) struct Flows {
    open: HashMap<FlowKey, Open>,
    /// Keys by `struct sock` and inode number.
    of_socket: HashMap<(u64, u64), Vec<FlowKey>>,
    /// Those whose socket was closed and whose last reading is still to come.
    released: Vec<FlowKey>,
}

impl Flows {
    fn remove(&mut self, key: FlowKey) -> Option<Open> {
        let socket = (key.socket, key.inode);
        if let Some(keys) = self.of_socket.get_mut(&socket) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.of_socket.remove(&socket);
            }
        }
        self.open.remove(&key)
    }
}

impl Tracker {
    /// A flow begins, or could not: a new row in `batch`, but for the first packet of a connected socket.
    pub fn flow(&mut self, raw: &RawFlow, process: Arc<Process>, batch: &mut Batch) {
        if let Some(open) = self.flows.open.get_mut(&raw.flow).filter(|_| raw.errno == 0) {
            open.counted |= raw.traffic;
            return;
        }
        let wall_ns = self.wall_ns(raw.time_ns);
        let inbound = raw.role == Role::Inbound;
        let local = raw.ends.source.filter(|end| !end.ip.is_unspecified());
        let connection = Connection {
            id: self.next_id(wall_ns),
            monotonic_ns: raw.time_ns,
            wall_ns,
            process,
            direction: if inbound { Direction::Inbound } else { Direction::Outbound },
            family: raw.ends.family,
            socket_type: raw.socket_type,
            source: if inbound { raw.ends.destination } else { local },
            destination: if inbound { local } else { raw.ends.destination },
            protocol: raw.ends.protocol,
            netns: raw.netns,
            outcome: match raw.errno {
                0 if inbound => Outcome::Established { latency_ns: 0 },
                0 => Outcome::Unanswered,
                errno => Outcome::Failed { errno, stage: Stage::of_call(errno), after_ns: 0 },
            },
            ..Connection::default()
        };
        let row = batch.connections.len();
        batch.connections.push(connection.clone());
        if raw.errno != 0 {
            return;
        }
        self.tuples.remember(&connection, u64::MAX);
        if !raw.watched {
            return; // nothing more will be known of it
        }
        if !raw.traffic && self.flows.open.len() >= MAX_OPEN {
            self.lost(raw.time_ns, LossPlace::FlowsFull, LossKind::Udp, 1, batch);
            return;
        }
        let (counted, last_ns) = (raw.traffic, raw.time_ns);
        self.flows.of_socket.entry((raw.flow.socket, raw.flow.inode)).or_default().push(raw.flow);
        self.flows.open.insert(raw.flow, Open { connection, row, counted, last_ns, released_ns: None });
    }

    /// A datagram socket was closed: its flows wait for their last reading. One without flows was never used, or
    /// is older than the programs.
    pub fn release(&mut self, release: &RawRelease) {
        for key in self.flows.of_socket.get(&release.socket).into_iter().flatten() {
            if let Some(open) = self.flows.open.get_mut(key) {
                open.released_ns = Some(release.time_ns);
                self.flows.released.push(*key);
            }
        }
    }

    /// Counters of a flow; `false` where its beginning was never seen.
    pub fn traffic(&mut self, raw: &RawTraffic, batch: &mut Batch) -> bool {
        let Some(open) = self.flows.open.get_mut(&raw.flow) else { return false };
        let counters = &raw.counters;
        if counters.started_ns != 0 {
            open.last_ns = counters.last_ns.max(counters.failed_ns);
            update(&mut open.connection, counters);
        }
        if !raw.over {
            put(batch, &open.connection, &mut open.row);
            return true;
        }
        let Some(mut open) = self.flows.remove(raw.flow) else { return false };
        let (ending, end_ns, until_ns) = match open.released_ns {
            Some(released_ns) => (Ending::ClosedLocally, released_ns, released_ns),
            None => (Ending::Idle, open.last_ns, open.last_ns.saturating_add(IDLE_NS)),
        };
        let after_ns = end_ns.saturating_sub(open.connection.monotonic_ns);
        open.connection.close = Some(Close { after_ns, ending, errno: counters.errno });
        self.tuples.remember(&open.connection, until_ns);
        put(batch, &open.connection, &mut open.row);
        true
    }

    /// Whether there are flows that have to be looked at from time to time.
    pub fn has_flows(&self) -> bool {
        !self.flows.open.is_empty()
    }

    /// Whether the last reading of a flow is due.
    pub fn has_released_flows(&self) -> bool {
        !self.flows.released.is_empty()
    }

    /// The last readings of the flows whose sockets were closed.
    pub fn released_flows(&mut self) -> Vec<FlowReading> {
        let released = std::mem::take(&mut self.flows.released);
        released.into_iter().map(|flow| FlowReading { flow, seen_ns: 0, over: true }).collect()
    }

    /// What is to be read of the others at `now_ns`: counters, and the last ones of the idle.
    pub fn open_flows(&self, now_ns: u64) -> Vec<FlowReading> {
        let due = |(flow, open): (&FlowKey, &Open)| {
            let idle = now_ns.saturating_sub(open.last_ns) >= IDLE_NS;
            let wanted = open.released_ns.is_none() && (open.counted || idle);
            wanted.then_some(FlowReading { flow: *flow, seen_ns: open.last_ns, over: idle })
        };
        self.flows.open.iter().filter_map(due).collect()
    }
}

/// What the counters say.
fn update(connection: &mut Connection, counters: &Flow) {
    connection.traffic = Some(Traffic {
        bytes_sent: counters.bytes_sent,
        bytes_received: counters.bytes_received,
        packets_sent: Some(counters.packets_sent),
        packets_received: Some(counters.packets_received),
        srtt_us: None,
        retransmits: None,
    });
    if connection.outcome != Outcome::Unanswered {
        return;
    }
    let after = |moment_ns: u64| moment_ns.saturating_sub(counters.started_ns);
    if counters.answered_ns != 0 {
        connection.outcome = Outcome::Established { latency_ns: after(counters.answered_ns) };
    } else if counters.errno != 0 {
        let (errno, after_ns) = (counters.errno, after(counters.failed_ns));
        connection.outcome = Outcome::Failed { errno, stage: Stage::Handshake, after_ns };
    }
}
