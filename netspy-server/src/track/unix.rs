//! Connects of UNIX sockets: each is known when its call returns, and its end where the kernel side can see it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Live, MAX_LIVE, Tracker, ending, put};
use crate::{
    decode::{RawUnix, RawUnixClose},
    domain::{Batch, Close, Connection, ExistingSocket, Outcome, Process, Stage},
};

/// Connections of UNIX sockets that are not over, by inode number.
#[derive(Default)]
pub(super) struct UnixSockets {
    open: HashMap<u64, Live>,
    /// What the listing that is being told has named so far.
    seen: HashSet<u64>,
}

impl UnixSockets {
    fn insert(&mut self, inode: u64, live: Live) {
        if self.open.len() < MAX_LIVE {
            self.open.insert(inode, live);
        }
    }

    /// A listed socket that is connected; `false` if its connection is known already.
    pub(super) fn is_new(&mut self, socket: &ExistingSocket) -> bool {
        let inode = u64::from(socket.inode);
        self.seen.insert(inode);
        !self.open.contains_key(&inode)
    }

    /// One that was found.
    pub(super) fn found(&mut self, socket: &ExistingSocket, live: Live) {
        self.insert(socket.inode.into(), live);
    }

    /// Takes out those that began before the listing and are not in it.
    pub(super) fn take_gone(&mut self, monotonic_ns: u64) -> impl Iterator<Item = Live> {
        let seen = std::mem::take(&mut self.seen);
        let is_gone = |inode: &u64, live: &mut Live| {
            live.connection.monotonic_ns < monotonic_ns && !seen.contains(inode)
        };
        let gone: Vec<Live> = self.open.extract_if(is_gone).map(|(_, live)| live).collect();
        gone.into_iter()
    }
}

impl Tracker {
    /// A UNIX socket was connected, or could not be: a new row in `batch`.
    pub fn unix(&mut self, raw: &RawUnix, process: Arc<Process>, batch: &mut Batch) {
        let wall_ns = self.wall_ns(raw.started_ns);
        let latency_ns = raw.time_ns.saturating_sub(raw.started_ns);
        let connection = Connection {
            id: self.next_id(wall_ns),
            monotonic_ns: raw.started_ns,
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
        };
        let row = batch.connections.len();
        batch.connections.push(connection.clone());
        if raw.watched {
            self.unix.insert(raw.inode, Live { connection, row });
        }
    }

    /// The end of one. Of one that is not known there is nothing to say: a listing has missed it and told its end.
    pub fn unix_close(&mut self, raw: &RawUnixClose, batch: &mut Batch) {
        let Some(mut live) = self.unix.open.remove(&raw.inode) else { return };
        let after_ns = raw.time_ns.saturating_sub(live.connection.monotonic_ns);
        let ending = ending(raw.closer, raw.errno);
        live.connection.close = Some(Close { after_ns, ending, errno: raw.errno });
        put(batch, &live.connection, &mut live.row);
    }
}
