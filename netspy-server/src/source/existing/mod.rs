//! Sockets that exist: `NETLINK_SOCK_DIAG` in every network namespace, and who has them open according to
//! `/proc`. Without it the first minutes after a start would be blind.

mod ended;
mod namespaces;
mod netlink;
mod owners;

use std::{collections::HashMap, io, time::Duration};

use crate::domain::{
    Endpoint, ExistingSocket, FlowReading, HistoryError, Input, Rest, SocketRole, Sockets, Source, Thread,
};
use ended::Ended;
use netlink::{Found, State};
use owners::Owners;

/// The sockets of this machine.
pub struct Machine;

impl Sockets for Machine {
    fn existing(&self) -> Result<Vec<ExistingSocket>, HistoryError> {
        sockets()
            .map_err(|error| HistoryError(format!("the sockets of this machine cannot be listed: {error}")))
    }
}

/// How long after a loss the sockets are listed again, in ns: a flood should be over, or at least be listed once
/// for many losses.
const AGAIN_AFTER_NS: u64 = 1_000_000_000;

/// A source that begins with the sockets that were there before it, and lists them again after a loss: what
/// is open stays known, and what is gone is not shown as open for ever.
pub struct ExistingSource<S> {
    inner: S,
    listing: Option<Listing>,
    /// `CLOCK_MONOTONIC` in ns when the next one is due.
    due_ns: Option<u64>,
}

/// The sockets that there were, until everything that happened before was handed over.
struct Listing {
    /// `CLOCK_MONOTONIC` in ns when it was made.
    monotonic_ns: u64,
    sockets: Vec<ExistingSocket>,
    ended: Ended,
}

impl<S: Source> ExistingSource<S> {
    /// `inner` is already tracing: what comes into being while the sockets are listed is seen by both.
    pub fn new(inner: S) -> (Self, io::Result<()>) {
        let mut source = Self { inner, listing: None, due_ns: None };
        let listed = source.list();
        (source, listed)
    }

    fn list(&mut self) -> io::Result<()> {
        let monotonic_ns = self.inner.monotonic_ns();
        self.listing = Some(Listing { monotonic_ns, sockets: sockets()?, ended: Ended::default() });
        Ok(())
    }
}

impl<S: Source> Source for ExistingSource<S> {
    fn drain(&mut self, take: &mut dyn FnMut(Input<'_>)) -> io::Result<bool> {
        let (mut lost_ns, listing) = (None, &mut self.listing);
        let more = self.inner.drain(&mut |input| {
            if let Input::Lost { monotonic_ns, .. } = input {
                lost_ns = Some(monotonic_ns);
            }
            if let Some(listing) = listing {
                listing.ended.note(&input);
            }
            take(input);
        })?;
        if let Some(lost_ns) = lost_ns {
            self.due_ns.get_or_insert(lost_ns.saturating_add(AGAIN_AFTER_NS));
        }
        if more {
            return Ok(true);
        }
        if let Some(Listing { monotonic_ns, sockets, ended }) = self.listing.take() {
            for socket in sockets.iter().filter(|socket| !ended.has(socket)) {
                take(Input::Existing { monotonic_ns, socket });
            }
            take(Input::Listed { monotonic_ns });
        }
        if self.due_ns.is_some_and(|due_ns| self.inner.monotonic_ns() >= due_ns) {
            self.due_ns = None;
            if let Err(error) = self.list() {
                tracing::warn!(%error, "sockets cannot be listed: connections whose end was lost are shown as open");
            }
            return Ok(true); // what happened before the listing is in the rings by now
        }
        Ok(false)
    }

    fn read_flows(&mut self, readings: &[FlowReading], take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        self.inner.read_flows(readings, take)
    }

    fn settle(&mut self, take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        let due_ns = &mut self.due_ns;
        self.inner.settle(&mut |input| {
            if let Input::Lost { monotonic_ns, .. } = input {
                due_ns.get_or_insert(monotonic_ns.saturating_add(AGAIN_AFTER_NS));
            }
            take(input);
        })
    }

    fn rests(&self) -> bool {
        self.listing.is_none() && self.due_ns.is_none() && self.inner.rests()
    }

    fn rest(&mut self) -> io::Result<Rest> {
        let now_ns = self.inner.monotonic_ns();
        let due = self.due_ns.map(|due_ns| Duration::from_nanos(due_ns.saturating_sub(now_ns)));
        self.inner.rest().map(|rest| rest.at_most(due))
    }

    fn woken(&mut self) -> io::Result<()> {
        self.inner.woken()
    }

    fn monotonic_ns(&self) -> u64 {
        self.inner.monotonic_ns()
    }
}

/// Inode numbers of the UNIX sockets that are connected.
pub fn connected_unix_sockets() -> io::Result<Vec<u64>> {
    let connected = |socket: &ExistingSocket| {
        i32::from(socket.family) == libc::AF_UNIX && socket.role != SocketRole::Listener
    };
    Ok(sockets()?.iter().filter(|socket| connected(socket)).map(|socket| socket.inode.into()).collect())
}

/// Every socket of every network namespace that a process lives in.
fn sockets() -> io::Result<Vec<ExistingSocket>> {
    let owners = Owners::read()?;
    let mut all = Vec::new();
    for namespace in namespaces::all()? {
        let found = namespace.inside(netlink::dump)??;
        all.extend(named(&found, namespace.inode, &owners));
    }
    // A connection that nobody has accepted belongs to a listener: those come first.
    all.sort_by_key(|socket| socket.role != SocketRole::Listener);
    Ok(all)
}

/// Gives the sockets of one namespace their roles and owners.
fn named(found: &[Found], netns: u32, owners: &Owners) -> Vec<ExistingSocket> {
    let by_inode: HashMap<u32, &Found> = found.iter().map(|socket| (socket.inode, socket)).collect();
    let listens_at = |local: Endpoint| {
        found.iter().any(|other| {
            other.state == State::Listening
                && other.local.is_some_and(|at| {
                    at.port == local.port && (at.ip.is_unspecified() || at.canonical() == local.canonical())
                })
        })
    };
    // Asked once per port, not once per connection.
    let mut served: HashMap<Endpoint, bool> = HashMap::new();
    let mut sockets = Vec::new();
    for socket in found {
        let peer = by_inode.get(&socket.peer).copied();
        let role = match socket.state {
            State::Listening => SocketRole::Listener,
            State::Connecting => SocketRole::Connecting,
            State::Closing => SocketRole::Closing,
            State::Connected if is_accepted(socket, peer, &mut served, &listens_at) => SocketRole::Inbound,
            // Its peer is gone: all that can still come is its own end.
            State::Connected if is_unix(socket) && socket.peer == 0 => SocketRole::Closing,
            State::Connected => SocketRole::Outbound,
        };
        let path = if role == SocketRole::Outbound {
            peer.and_then(|peer| peer.path.clone())
        } else {
            socket.path.clone()
        };
        if is_unix(socket) && path.is_none() && role != SocketRole::Closing {
            continue; // a pair without names: a pipe, not a connection to somebody
        }
        sockets.push(ExistingSocket {
            role,
            family: socket.family,
            protocol: socket.protocol,
            socket_type: socket.socket_type,
            local: socket.local,
            remote: socket.remote,
            path,
            peer_pid: owners.of(socket.peer).map(|owner: Thread| owner.pid),
            netns,
            inode: socket.inode,
            owner: owners.of(socket.inode),
            backlog: socket.backlog,
            backlog_limit: socket.backlog_limit,
        });
    }
    sockets
}

fn is_unix(socket: &Found) -> bool {
    i32::from(socket.family) == libc::AF_UNIX
}

/// Whether the peer asked for this connection: a listener has its local address, or it bears the
/// listener's name.
fn is_accepted(
    socket: &Found,
    peer: Option<&Found>,
    served: &mut HashMap<Endpoint, bool>,
    listens_at: &impl Fn(Endpoint) -> bool,
) -> bool {
    match socket.local {
        Some(local) => *served.entry(local).or_insert_with(|| listens_at(local)),
        None => socket.path.is_some() && peer.is_none_or(|peer| peer.path.is_none()),
    }
}
