//! Connections that were there when tracing began. The programs do not know their sockets: they are known by
//! their tuple.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::Live;
use crate::{
    decode::Ends,
    domain::{Connection, Direction, Endpoint, ExistingSocket, Outcome, Process, SocketRole},
};

/// Namespace, local end, remote end.
type Key = (u32, Endpoint, Endpoint);

/// Start and socket, as the tracker knows a connection whose beginning was seen.
type LiveKey = (u64, u64);

/// Those that are not over, and the listing that is being told.
#[derive(Default)]
pub(super) struct Existing {
    connections: HashMap<Key, Live>,
    /// `CLOCK_MONOTONIC` in ns when they were listed.
    listed_ns: u64,
    /// Whether a listing has been told to its end.
    listed: bool,
    /// What was known when a listing began to be told.
    expected: Option<Expected>,
    /// What was listed so far.
    seen: HashSet<Key>,
    /// Namespaces and remote ends of the attempts among it.
    connecting: HashSet<(u32, Endpoint)>,
}

/// What is known of a listed socket's connection.
pub(super) enum Known {
    Nothing,
    Everything,
    /// This attempt, whose outcome was lost: everything that happened before the listing has been told.
    Attempt(LiveKey),
}

/// Connections that are not over and whose beginning was seen.
struct Expected {
    /// Those whose tuple is known.
    all: HashMap<Key, LiveKey>,
    /// Attempts whose source port is not known yet, by namespace and remote end.
    attempts: HashMap<(u32, Endpoint), Vec<LiveKey>>,
}

impl Expected {
    fn of(live: &BTreeMap<LiveKey, Live>) -> Self {
        let all = live.iter().filter_map(|(at, live)| Some((key_of(&live.connection)?, *at))).collect();
        let mut attempts: HashMap<_, Vec<_>> = HashMap::new();
        for (at, Live { connection, .. }) in live {
            if let (Outcome::Pending, None, Some(remote)) =
                (connection.outcome, connection.source, connection.destination)
            {
                attempts.entry((connection.netns, remote.canonical())).or_default().push(*at);
            }
        }
        Self { all, attempts }
    }
}

impl Existing {
    pub(super) fn insert(&mut self, monotonic_ns: u64, socket: &ExistingSocket, live: Live) {
        self.listed_ns = monotonic_ns;
        if let (Some(local), Some(remote)) = (socket.local, socket.remote) {
            let key = key(socket.netns, local, remote);
            self.seen.insert(key);
            self.connections.insert(key, live);
        }
    }

    /// Whether no listing has been told to its end.
    pub(super) fn is_first_listing(&self) -> bool {
        !self.listed
    }

    /// What is known of a listed socket, which is this process's.
    pub(super) fn known(
        &mut self,
        live: &BTreeMap<LiveKey, Live>,
        socket: &ExistingSocket,
        process: &Process,
    ) -> Known {
        let (Some(local), Some(remote)) = (socket.local, socket.remote) else {
            return Known::Nothing;
        };
        let (key, to) = (key(socket.netns, local, remote), (socket.netns, remote.canonical()));
        let expected = self.expected.get_or_insert_with(|| Expected::of(live));
        let mut at = expected.all.get(&key).copied();
        let mut is_known = at.is_some() || self.connections.contains_key(&key);
        match (socket.role, expected.attempts.get_mut(&to)) {
            (SocketRole::Connecting, attempts) => {
                self.connecting.insert(to);
                (at, is_known) = (None, is_known || attempts.is_some());
            }
            (SocketRole::Outbound, Some(attempts)) if !is_known => {
                let its =
                    |at: &LiveKey| live.get(at).is_some_and(|it| it.connection.process.pid == process.pid);
                at = attempts.iter().position(its).map(|place| attempts.remove(place));
                is_known = at.is_some();
            }
            _ => {}
        }
        if is_known {
            self.seen.insert(key);
        }
        match at {
            Some(at) if live.get(&at).is_some_and(|it| it.connection.outcome == Outcome::Pending) => {
                Known::Attempt(at)
            }
            _ if is_known => Known::Everything,
            _ => Known::Nothing,
        }
    }

    /// Takes out the connections and attempts that began before the listing and are not in it.
    pub(super) fn take_gone(&mut self, live: &mut BTreeMap<LiveKey, Live>, monotonic_ns: u64) -> Vec<Live> {
        (self.listed_ns, self.listed) = (monotonic_ns, true);
        self.expected = None;
        let (seen, connecting) = (std::mem::take(&mut self.seen), std::mem::take(&mut self.connecting));
        let is_over = |connection: &Connection| {
            let remote = connection.destination.map(|remote| (connection.netns, remote.canonical()));
            match connection.outcome {
                Outcome::Pending => remote.is_some_and(|remote| !connecting.contains(&remote)),
                _ => key_of(connection).is_some_and(|key| !seen.contains(&key)),
            }
        };
        let of_tcp = |connection: &Connection| i32::from(connection.protocol) == libc::IPPROTO_TCP;
        let over: Vec<LiveKey> = live
            .iter()
            .filter(|(_, live)| live.connection.monotonic_ns < monotonic_ns)
            .filter(|(_, live)| of_tcp(&live.connection) && is_over(&live.connection))
            .map(|(key, _)| *key)
            .collect();
        let mut gone: Vec<Live> = over.iter().filter_map(|key| live.remove(key)).collect();
        gone.extend(self.connections.extract_if(|key, _| !seen.contains(key)).map(|(_, live)| live));
        gone
    }

    /// The id under which a connection that began at `time_ns` was listed as well: it began while they were.
    pub(super) fn take_listed(
        &mut self,
        time_ns: u64,
        netns: u32,
        local: Option<Endpoint>,
        remote: Option<Endpoint>,
    ) -> Option<u64> {
        if time_ns >= self.listed_ns {
            return None;
        }
        Some(self.connections.remove(&key(netns, local?, remote?))?.connection.id)
    }

    /// The one with this tuple, which is over.
    pub(super) fn remove(&mut self, netns: u32, ends: Ends) -> Option<Live> {
        self.connections.remove(&key(netns, ends.source?, ends.destination?))
    }
}

fn key(netns: u32, local: Endpoint, remote: Endpoint) -> Key {
    (netns, local.canonical(), remote.canonical())
}

/// The tuple of a TCP connection as its own end sees it.
fn key_of(connection: &Connection) -> Option<Key> {
    let (local, remote) = match connection.direction {
        Direction::Outbound => (connection.source, connection.destination),
        Direction::Inbound => (connection.destination, connection.source),
    };
    (i32::from(connection.protocol) == libc::IPPROTO_TCP).then_some(())?;
    Some(key(connection.netns, local?, remote?))
}

pub(super) fn connection(
    id: u64,
    monotonic_ns: u64,
    wall_ns: i64,
    socket: &ExistingSocket,
    process: Arc<Process>,
) -> Connection {
    let inbound = socket.role == SocketRole::Inbound;
    Connection {
        id,
        monotonic_ns,
        wall_ns,
        process,
        direction: if inbound { Direction::Inbound } else { Direction::Outbound },
        found: true,
        family: socket.family,
        socket_type: socket.socket_type,
        source: if inbound { socket.remote } else { socket.local },
        destination: if inbound { socket.local } else { socket.remote },
        path: socket.path.clone(),
        peer_pid: socket.peer_pid,
        protocol: socket.protocol,
        netns: socket.netns,
        outcome: match socket.role {
            SocketRole::Connecting => Outcome::Pending,
            _ => Outcome::Established { latency_ns: 0 },
        },
        ..Connection::default()
    }
}
