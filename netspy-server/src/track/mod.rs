//! From single records to connections with an outcome and drops with an owner. Pure: time is what the
//! records say, so replaying a recording gives what the live run gave.

mod existing;
mod flows;
mod trouble;
mod tuples;
mod unix;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use netspy_common::{ConnectionKey, MAX_SOCKETS, closer};

use crate::{
    decode::{RawAccept, RawClose, RawConnect, RawDrop, RawOutcome, Role},
    domain::{
        Attribution, Batch, Close, Connection, Direction, Ending, Endpoint, ExistingSocket, Loss, LossKind,
        LossPlace, Outcome, PacketDrop, Process, SocketRole, Stage, Traffic, errno_name,
    },
};
use existing::{Existing, Known};
use flows::Flows;
use tuples::Tuples;
use unix::UnixSockets;

/// How long a drop waits for the connection that it belongs to, in ns: without kprobes the source port of
/// an attempt is only known with its outcome, which comes right after the drop that caused it.
pub const DROP_PATIENCE_NS: u64 = 20_000_000;
/// For so long after a regular close a packet may still be the connection's, in ns (`TCP_TIMEWAIT_LEN`,
/// include/net/tcp.h).
const TIME_WAIT_NS: u64 = 60_000_000_000;
/// The kernel side follows no more than that, whatever `--max-sockets` says; one whose close was lost must not stay for ever.
const MAX_LIVE: usize = 2 * MAX_SOCKETS as usize;

/// A connection that is not over.
struct Live {
    connection: Connection,
    /// Where in the batch it may still lie.
    row: usize,
}

/// A socket that listens.
struct Listener {
    key: ConnectionKey,
    process: Arc<Process>,
    netns: u32,
    local: Option<Endpoint>,
}

impl Listener {
    /// Whether it is the one that stops listening; one from before the programs is known by its address.
    fn is(&self, close: &RawClose) -> bool {
        if self.key.started_ns == 0 {
            close.key.started_ns == 0
                && self.netns == close.netns
                && self.local == close.ends.source
                && close.ends.destination.is_none()
        } else {
            self.key == close.key
        }
    }
}

/// Follows connections to their end, and drops until their owner is known.
#[derive(Default)]
pub struct Tracker {
    wall_minus_monotonic_ns: i64,
    /// By start and socket: the oldest is the first.
    live: BTreeMap<(u64, u64), Live>,
    listeners: Vec<Listener>,
    existing: Existing,
    flows: Flows,
    unix: UnixSockets,
    tuples: Tuples,
    held: VecDeque<PacketDrop>,
    last_id: u64,
    /// The latest monotonic time that a record or the source told.
    latest_ns: u64,
}

impl Tracker {
    /// Knows nothing yet; wall time starts out equal to monotonic time.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on wall time is monotonic time plus this.
    pub fn set_clock(&mut self, wall_minus_monotonic_ns: i64) {
        self.wall_minus_monotonic_ns = wall_minus_monotonic_ns;
    }

    /// Wall time of a monotonic time, both in ns.
    pub fn wall_ns(&self, monotonic_ns: u64) -> i64 {
        i64::try_from(monotonic_ns).unwrap_or(i64::MAX).saturating_add(self.wall_minus_monotonic_ns)
    }

    /// The latest monotonic time that a record or the source told, in ns.
    pub fn latest_ns(&self) -> u64 {
        self.latest_ns
    }

    /// Adds to the ledger what was found lost at `monotonic_ns`; one entry a second, place and kind.
    pub fn lost(&self, monotonic_ns: u64, place: LossPlace, kind: LossKind, count: u64, batch: &mut Batch) {
        let wall_ns = self.wall_ns(monotonic_ns);
        let same = |known: &&mut Loss| {
            (known.place, known.kind) == (place, kind) && wall_ns - known.wall_ns < 1_000_000_000
        };
        match batch.losses.iter_mut().rev().find(same) {
            Some(known) => known.count += count,
            None => batch.losses.push(Loss { wall_ns, place, kind, count }),
        }
    }

    /// Whether drops are still waiting for their owner.
    pub fn holds_drops(&self) -> bool {
        !self.held.is_empty()
    }

    /// Ids grow with time, so that what is near in time is near in the store; they start at the first
    /// event's wall time in ns, so that a later run does not repeat an earlier one's.
    fn next_id(&mut self, wall_ns: i64) -> u64 {
        self.last_id = (self.last_id + 1).max(wall_ns.cast_unsigned());
        self.last_id
    }

    /// A connection begins: a new row in `batch`. `process` asked for it; nobody did for an inbound one.
    pub fn connect(&mut self, begun: &RawConnect, process: Arc<Process>, batch: &mut Batch) {
        let RawConnect { time_ns, key, ends, errno, netns, role, socket_type, .. } = *begun;
        let local = ends.source.filter(|source| source.port != 0);
        if role == Role::Listener {
            self.listeners.push(Listener { key, process, netns, local: ends.source });
            return;
        }
        let inbound = role == Role::Inbound;
        let wall_ns = self.wall_ns(time_ns);
        let listed = self.existing.take_listed(time_ns, netns, local, ends.destination);
        let connection = Connection {
            id: listed.unwrap_or_else(|| self.next_id(wall_ns)),
            monotonic_ns: time_ns,
            wall_ns,
            process: if inbound { self.listener_of(netns, local).unwrap_or(process) } else { process },
            direction: if inbound { Direction::Inbound } else { Direction::Outbound },
            found: false,
            family: ends.family,
            socket_type,
            source: if inbound { ends.destination } else { local },
            destination: if inbound { local } else { ends.destination },
            path: None,
            peer_pid: None,
            protocol: ends.protocol,
            netns,
            outcome: match errno {
                0 if inbound => Outcome::Established { latency_ns: 0 },
                0 => Outcome::Pending,
                errno => Outcome::Failed { errno, stage: Stage::of_call(errno), after_ns: 0 },
            },
            accepted_after_ns: None,
            traffic: None,
            close: None,
        };
        if errno != 0 {
            batch.connections.push(connection);
            return;
        }
        self.tuples.remember(&connection, u64::MAX);
        if self.live.len() >= MAX_LIVE {
            self.live.pop_first();
        }
        let row = batch.connections.len();
        batch.connections.push(connection.clone());
        self.live.insert((key.started_ns, key.socket), Live { connection, row });
    }

    /// One of the sockets that there were at `monotonic_ns`.
    pub fn existing(
        &mut self,
        monotonic_ns: u64,
        socket: &ExistingSocket,
        process: Arc<Process>,
        batch: &mut Batch,
    ) {
        let wall_ns = self.wall_ns(monotonic_ns);
        if socket.role == SocketRole::Listener {
            let same = |known: &Listener| known.netns == socket.netns && known.local == socket.local;
            if !self.listeners.iter().any(same) {
                let key = ConnectionKey { socket: 0, started_ns: 0 };
                self.listeners.push(Listener { key, process, netns: socket.netns, local: socket.local });
            }
            return;
        }
        let unix = i32::from(socket.family) == libc::AF_UNIX;
        let known = if !unix {
            self.existing.known(&self.live, socket, &process)
        } else if self.unix.is_new(socket) && self.existing.is_first_listing() {
            Known::Nothing
        } else {
            Known::Everything // later on each is told when it is connected
        };
        match known {
            Known::Nothing if socket.role != SocketRole::Closing => {}
            Known::Nothing | Known::Everything => return,
            Known::Attempt(at) => return self.succeeded(at, socket.local, batch),
        }
        let process = if process.pid == 0 && socket.role == SocketRole::Inbound {
            self.listener_of(socket.netns, socket.local).unwrap_or(process)
        } else {
            process
        };
        let connection = existing::connection(self.next_id(wall_ns), monotonic_ns, wall_ns, socket, process);
        self.tuples.remember(&connection, u64::MAX);
        let row = batch.connections.len();
        batch.connections.push(connection.clone());
        let live = Live { connection, row };
        if unix {
            self.unix.found(socket, live);
        } else {
            self.existing.insert(monotonic_ns, socket, live);
        }
    }

    /// An attempt whose outcome was lost has led to a connection, since when is not known.
    fn succeeded(&mut self, at: (u64, u64), local: Option<Endpoint>, batch: &mut Batch) {
        let Some(live) = self.live.get_mut(&at) else { return };
        live.connection.source = local;
        live.connection.outcome = Outcome::Established { latency_ns: 0 };
        self.tuples.remember(&live.connection, u64::MAX);
        put(batch, &live.connection, &mut live.row);
    }

    /// The sockets that there were at `monotonic_ns` have all been told: connections that are not among them are
    /// over, and how was lost.
    pub fn listed(&mut self, monotonic_ns: u64, batch: &mut Batch) {
        let gone = self.existing.take_gone(&mut self.live, monotonic_ns);
        for mut gone in gone.into_iter().chain(self.unix.take_gone(monotonic_ns)) {
            let after_ns = monotonic_ns.saturating_sub(gone.connection.monotonic_ns);
            gone.connection.close = Some(Close { after_ns, ending: Ending::Unseen, errno: 0 });
            self.tuples.remember(&gone.connection, monotonic_ns);
            put(batch, &gone.connection, &mut gone.row);
        }
    }

    /// Whose listener it is, until somebody accepts.
    fn listener_of(&self, netns: u32, local: Option<Endpoint>) -> Option<Arc<Process>> {
        let local = local?.canonical();
        let serves = |listener: &&Listener| {
            listener.netns == netns
                && listener
                    .local
                    .map(Endpoint::canonical)
                    .is_some_and(|at| at.port == local.port && (at.ip == local.ip || at.ip.is_unspecified()))
        };
        // The newest: an older one on the same port has been closed, or shares the port (`SO_REUSEPORT`).
        self.listeners.iter().rev().find(serves).map(|listener| listener.process.clone())
    }

    /// An outcome; `false` when its attempt was never seen.
    pub fn outcome(&mut self, outcome: &RawOutcome, batch: &mut Batch) -> bool {
        let RawOutcome { time_ns, key, ends, established, errno } = *outcome;
        let Some(mut live) = self.live.remove(&(key.started_ns, key.socket)) else { return false };
        let connection = &mut live.connection;
        let after_ns = time_ns.saturating_sub(key.started_ns);
        connection.outcome = match (established, errno) {
            (true, _) => Outcome::Established { latency_ns: after_ns },
            (false, 0) => Outcome::Aborted { after_ns },
            (false, errno) => {
                Outcome::Failed { errno, stage: failed_stage(connection.source, errno), after_ns }
            }
        };
        if let Some(source) = ends.source.filter(|source| source.port != 0) {
            connection.source = Some(source);
        }
        if let Some(destination) = ends.destination.filter(|end| end.port != 0 && !end.ip.is_unspecified()) {
            connection.destination = Some(destination);
        }
        self.tuples.remember(connection, if established { u64::MAX } else { time_ns });
        put(batch, &live.connection, &mut live.row);
        if established {
            self.live.insert((key.started_ns, key.socket), live);
        }
        true
    }

    /// An inbound connection found its owner; `false` when its arrival was never seen.
    pub fn accept(&mut self, accept: &RawAccept, process: Arc<Process>, batch: &mut Batch) -> bool {
        let key = (accept.key.started_ns, accept.key.socket);
        let Some(live) = self.live.get_mut(&key) else { return false };
        live.connection.process = process;
        live.connection.accepted_after_ns = Some(accept.time_ns.saturating_sub(accept.key.started_ns));
        self.tuples.remember(&live.connection, u64::MAX);
        put(batch, &live.connection, &mut live.row);
        true
    }

    /// A connection is over; `false` when its beginning was never seen.
    pub fn close(&mut self, close: &RawClose, batch: &mut Batch) -> bool {
        let RawClose { time_ns, key, established_ns, .. } = *close;
        let listeners = self.listeners.len();
        self.listeners.retain(|listener| !listener.is(close));
        if self.listeners.len() < listeners {
            return true;
        }
        let known = if key.started_ns == 0 {
            self.existing.remove(close.netns, close.ends)
        } else {
            self.live.remove(&(key.started_ns, key.socket))
        };
        // One from before the programs that was not listed either is nobody's loss.
        let Some(mut live) = known else { return key.started_ns == 0 };
        let connection = &mut live.connection;
        let is_outcome_lost =
            matches!(connection.outcome, Outcome::Pending | Outcome::Established { latency_ns: 0 });
        if is_outcome_lost && connection.direction == Direction::Outbound && key.started_ns != 0 {
            let latency_ns = established_ns.saturating_sub(key.started_ns);
            connection.outcome = Outcome::Established { latency_ns };
            connection.source = close.ends.source;
        }
        connection.traffic = Some(Traffic {
            bytes_sent: close.bytes_sent,
            bytes_received: close.bytes_received,
            packets_sent: None,
            packets_received: None,
            srtt_us: Some(close.srtt_us).filter(|srtt_us| *srtt_us != 0),
            retransmits: Some(close.retransmits),
        });
        let ending = ending(close.closer, close.errno);
        let after_ns = time_ns.saturating_sub(connection.monotonic_ns);
        connection.close = Some(Close { after_ns, ending, errno: close.errno });
        let regular = matches!(ending, Ending::ClosedLocally | Ending::ClosedByPeer);
        self.tuples.remember(connection, time_ns.saturating_add(if regular { TIME_WAIT_NS } else { 0 }));
        put(batch, &live.connection, &mut live.row);
        true
    }

    /// A drop: into `batch` at once if the kernel knew its owner, otherwise when [`Tracker::advance`] says.
    pub fn dropped(
        &mut self,
        raw: &RawDrop,
        owner: Option<Arc<Process>>,
        reason: String,
        location: String,
        batch: &mut Batch,
    ) {
        let wall_ns = self.wall_ns(raw.time_ns);
        let attribution = if owner.is_some() { Attribution::Socket } else { Attribution::None };
        let drop = PacketDrop {
            id: self.next_id(wall_ns),
            monotonic_ns: raw.time_ns,
            wall_ns,
            owner,
            attribution,
            reason_code: raw.reason,
            reason,
            location,
            family: raw.ends.family,
            protocol: raw.ends.protocol,
            source: raw.ends.source,
            destination: raw.ends.destination,
            length: raw.length,
            ether_type: raw.ether_type,
            direction: raw.direction,
            interface: raw.interface,
            interface_name: raw.interface_name.clone(),
            netns: raw.netns,
        };
        let has_ports = matches!(i32::from(drop.protocol), libc::IPPROTO_TCP | libc::IPPROTO_UDP);
        let may_find_owner = attribution == Attribution::None && has_ports;
        if may_find_owner { self.held.push_back(drop) } else { batch.drops.push(drop) }
    }

    /// It is `monotonic_ns` (`u64::MAX`: nothing more will come): drops that have waited long enough get the owner that is known by now.
    pub fn advance(&mut self, monotonic_ns: u64, batch: &mut Batch) {
        if monotonic_ns != u64::MAX {
            self.latest_ns = self.latest_ns.max(monotonic_ns);
        }
        while let Some(drop) = self.held.front() {
            if drop.monotonic_ns.saturating_add(DROP_PATIENCE_NS) > monotonic_ns {
                break;
            }
            if let Some(mut drop) = self.held.pop_front() {
                if let Some(owner) = self.tuples.owner_of(&drop) {
                    drop.owner = Some(owner);
                    drop.attribution = Attribution::Tuple;
                }
                batch.drops.push(drop);
            }
        }
    }
}

/// The stage of a failure that came as an outcome: without kprobes the kernel may also take an attempt back
/// before it has a port, which is a failure of the call.
fn failed_stage(source: Option<Endpoint>, errno: u32) -> Stage {
    match Stage::of_call(errno) {
        Stage::Bind if source.is_none() => Stage::Bind,
        _ => Stage::Handshake,
    }
}

fn ending(closer: u32, errno: u32) -> Ending {
    match (errno_name(errno), closer) {
        (Some("ECONNRESET" | "EPIPE"), _) => Ending::ResetByPeer,
        (Some("ETIMEDOUT"), _) => Ending::TimedOut,
        _ if errno != 0 => Ending::Failed,
        (_, closer::LOCAL) => Ending::ClosedLocally,
        (_, closer::REMOTE) => Ending::ClosedByPeer,
        _ => Ending::ResetLocally,
    }
}

/// Brings the connection's row in the batch up to date, or adds it if an earlier batch had it.
fn put(batch: &mut Batch, connection: &Connection, row: &mut usize) {
    if let Some(known) = batch.connections.get_mut(*row).filter(|known| known.id == connection.id) {
        *known = connection.clone();
    } else {
        *row = batch.connections.len();
        batch.connections.push(connection.clone());
    }
}
