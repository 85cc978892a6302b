//! What ended after a listing was made and before it is told: to tell it then would be to tell of a connection that is over
//! and has been told of, and to show it as open.

use std::collections::HashSet;

use crate::{
    decode::{Ends, Record, decode},
    domain::{Endpoint, ExistingSocket, Input},
};

/// The two ends of connections, as their own end sees them, and the inode numbers of UNIX sockets.
#[derive(Default)]
pub(super) struct Ended {
    ends: HashSet<(Endpoint, Endpoint)>,
    unix: HashSet<u64>,
}

impl Ended {
    /// Takes note of what comes from the kernel before the listing is told.
    pub(super) fn note(&mut self, input: &Input<'_>) {
        let Input::Record { ring, bytes } = *input else { return };
        match decode(ring, bytes) {
            Ok(Record::Close(close)) => self.note_ends(&close.ends),
            Ok(Record::Outcome(outcome)) if !outcome.established => self.note_ends(&outcome.ends),
            Ok(Record::UnixClose(close)) => {
                self.unix.insert(close.inode);
            }
            _ => {}
        }
    }

    fn note_ends(&mut self, ends: &Ends) {
        if let (Some(local), Some(remote)) = (ends.source, ends.destination) {
            self.ends.insert((local.canonical(), remote.canonical()));
        }
    }

    /// Whether it is one of them.
    pub(super) fn has(&self, socket: &ExistingSocket) -> bool {
        let ends = socket.local.map(Endpoint::canonical).zip(socket.remote.map(Endpoint::canonical));
        ends.map_or_else(|| self.unix.contains(&socket.inode.into()), |ends| self.ends.contains(&ends))
    }
}

#[cfg(test)]
mod tests {
    use netspy_common::{ABI_VERSION, CloseRecord, UnixCloseRecord, kind};

    use super::*;
    use crate::domain::{Ring, SocketRole};

    fn socket(port: Option<u16>, inode: u32) -> ExistingSocket {
        let end = |port| Endpoint { ip: [127, 0, 0, 1].into(), port, scope: 0 };
        ExistingSocket {
            role: SocketRole::Outbound,
            family: if port.is_some() { 2 } else { 1 },
            protocol: 0,
            socket_type: 1,
            local: port.map(end),
            remote: port.map(|_| end(80)),
            path: None,
            peer_pid: None,
            netns: 1,
            inode,
            owner: None,
            backlog: None,
            backlog_limit: None,
        }
    }

    /// A record of `size` bytes that begins with the header and `fields`, and goes on with zeroes.
    fn note(ended: &mut Ended, kind: u16, size: usize, fields: &[u8]) {
        let length = u32::try_from(size).unwrap().to_ne_bytes();
        let header = [&ABI_VERSION.to_ne_bytes()[..], &kind.to_ne_bytes(), &length, &7_u64.to_ne_bytes()];
        let mut bytes = [header.concat(), fields.to_vec()].concat();
        bytes.resize(size, 0);
        ended.note(&Input::Record { ring: Ring::Events, bytes: &bytes });
    }

    #[test]
    fn what_has_ended_since_is_known_by_its_ends_or_its_inode() {
        let mut ended = Ended::default();
        let address = [&[127, 0, 0, 1][..], &[0; 12]].concat();
        let numbers = [4000_u16, 80, 2, 6].map(u16::to_ne_bytes).concat();
        let tuple = [&[0; 16][..], &address, &address, &numbers].concat();
        note(&mut ended, kind::CLOSE, size_of::<CloseRecord>(), &tuple);
        note(&mut ended, kind::UNIX_CLOSE, size_of::<UnixCloseRecord>(), &9_u64.to_ne_bytes());
        let known = [socket(Some(4000), 1), socket(Some(4001), 9), socket(None, 9), socket(None, 1)];
        assert_eq!(known.map(|socket| ended.has(&socket)), [true, false, true, false]);
    }
}
