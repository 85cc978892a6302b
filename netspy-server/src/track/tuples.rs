//! Whose tuple it is: for packets whose socket the kernel does not name.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use netspy_common::MAX_SOCKETS;

use crate::domain::{Connection, Endpoint, PacketDrop, Process};

/// Namespace, protocol, and the two ends as one of them sees it.
type Key = (u32, u8, Endpoint, Endpoint);

struct Owner {
    process: Arc<Process>,
    /// `CLOCK_MONOTONIC` in ns.
    until_ns: u64,
}

/// Who uses a tuple, and until when. Bounded: the oldest are forgotten first.
#[derive(Default)]
pub(super) struct Tuples {
    owners: HashMap<Key, Owner>,
    /// Keys of `owners` in order of arrival.
    ages: VecDeque<Key>,
}

impl Tuples {
    /// The connection's tuple belongs to its process until then.
    pub(super) fn remember(&mut self, connection: &Connection, until_ns: u64) {
        let (Some(source), Some(destination)) = (connection.source, connection.destination) else { return };
        if connection.process.pid == 0 {
            return;
        }
        let key = (connection.netns, connection.protocol, bare(source), bare(destination));
        let owner = Owner { process: connection.process.clone(), until_ns };
        if self.owners.insert(key, owner).is_none() {
            self.ages.push_back(key);
        }
        if self.ages.len() > MAX_SOCKETS as usize
            && let Some(oldest) = self.ages.pop_front()
        {
            self.owners.remove(&oldest);
        }
    }

    /// The owner of the connection that a packet with this tuple travels on, in either direction.
    pub(super) fn owner_of(&self, drop: &PacketDrop) -> Option<Arc<Process>> {
        let (source, destination) = (bare(drop.source?), bare(drop.destination?));
        let sent = (drop.netns, drop.protocol, source, destination);
        let received = (drop.netns, drop.protocol, destination, source);
        [sent, received].iter().find_map(|key| {
            let owner = self.owners.get(key)?;
            (drop.monotonic_ns <= owner.until_ns).then(|| owner.process.clone())
        })
    }
}

/// A dropped packet's headers do not say which interface a link-local address belongs to.
fn bare(end: Endpoint) -> Endpoint {
    Endpoint { scope: 0, ..end.canonical() }
}
