//! Whose socket it is: the process that was remembered under it, never whoever happens to be running.

use netspy_common::{ConnectionKey, Task};

use crate::{
    maps::{CLOSED_SLOTS, Followed, LAST_CLOSED, SOCKETS},
    socket,
};

/// A socket's connection, and where the process is found that it belongs to: a program's stack has no room for
/// copies.
#[derive(Clone, Copy)]
pub struct Owner {
    /// Zeroes where nobody is known.
    pub key: ConnectionKey,
    task: Option<&'static Task>,
    /// Where the key's socket stands as long as `task` is its owner, if that may change.
    slot: Option<*const u64>,
}

impl Owner {
    /// The owner of `socket`, if that is a followed one.
    #[inline(always)]
    pub fn of(socket: u64) -> Self {
        // SAFETY: the owner of a socket does not change while it is followed.
        if let Some(followed) = unsafe { SOCKETS.get(socket) }
            && socket::is_still(followed, socket)
        {
            let key = ConnectionKey { socket, started_ns: followed.started_ns };
            return Self { key, task: Some(&followed.owner), slot: None };
        }
        Self { key: ConnectionKey { socket: 0, started_ns: 0 }, task: None, slot: None }
    }

    /// [`Owner::of`], also for a socket that has just been closed: an abort is closed first, and sends its RST then.
    #[inline(always)]
    pub fn of_aborted(socket: u64) -> Self {
        let ports = socket::ports(socket);
        if socket != 0
            && let Some(closed) = LAST_CLOSED.get(slot_of(socket, ports))
            && closed.socket == socket
            && closed.ports == ports
        {
            let key = ConnectionKey { socket, started_ns: closed.started_ns };
            return Self { key, task: Some(&closed.owner), slot: Some(&raw const closed.socket) };
        }
        Self::of(socket)
    }

    /// Writes the process into zeroed memory, if one is known.
    #[inline(always)]
    pub fn write(&self, target: &mut Task) {
        if let Some(task) = self.task {
            *target = *task;
        }
        // SAFETY: the slot is in a map, which lives as long as the program.
        if self.slot.is_some_and(|slot| unsafe { slot.read_volatile() } != self.key.socket) {
            // Another processor has closed a socket of the same slot meanwhile.
            // SAFETY: integers and arrays of integers.
            *target = unsafe { core::mem::zeroed() };
        }
    }

    /// `Task::tgid` and `Task::started_ns`, or zeroes.
    #[inline(always)]
    pub fn process(&self) -> (u32, u64) {
        self.task.map_or((0, 0), |task| (task.tgid, task.started_ns))
    }
}

/// 2^64 divided by the golden ratio: the upper bits of a product with it differ for numbers that are evenly apart (Knuth, The Art
/// of Computer Programming, vol. 3, §6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The slot of a socket in [`LAST_CLOSED`]. Sockets stand at the same few places of each slab: bits of the address alone would
/// be the same for many of them. The two ends of a connection share none, as their ports are swapped, unless both are the same
/// number: an abort is told of when its RST was sent (`tcp_send_active_reset`, net/ipv4/tcp_output.c), and on the loopback that
/// has closed its peer by then.
#[inline(always)]
fn slot_of(socket: u64, ports: u32) -> u32 {
    let place = (socket.wrapping_mul(GOLDEN) >> 32) as u32 >> (32 - CLOSED_SLOTS.trailing_zeros());
    let end = u32::from(ports >> 16 < ports & 0xffff);
    place & !1 | end
}

/// Remembers whose socket was just closed.
#[inline(always)]
pub fn remember_closed(followed: &Followed) {
    if let Some(closed) = LAST_CLOSED.get_ptr_mut(slot_of(followed.socket, followed.ports)) {
        // SAFETY: a slot in a map. Who reads it looks at the socket before and after.
        unsafe {
            (&raw mut (*closed).socket).write_volatile(0);
            (*closed).started_ns = followed.started_ns;
            (*closed).owner = followed.owner;
            (*closed).ports = followed.ports;
            (&raw mut (*closed).socket).write_volatile(followed.socket);
        }
    }
}
