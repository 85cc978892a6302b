//! Whose socket it is: the process that was remembered under it, never whoever happens to be running.

use netspy_common::{ConnectionKey, Task};

use crate::{
    maps::{Closed, Followed, LAST_CLOSED, SOCKETS},
    socket::Socket,
};

/// A socket's connection, and where the process is found that it belongs to: a program's stack has no room for
/// copies.
#[derive(Clone, Copy)]
pub struct Owner {
    /// Zeroes where nobody is known.
    pub key: ConnectionKey,
    task: Option<&'static Task>,
}

impl Owner {
    /// The owner of `socket`, if that is a followed one.
    #[inline(always)]
    pub fn of(socket: u64) -> Self {
        // SAFETY: the owner of a socket does not change while it is followed.
        if let Some(followed) = unsafe { SOCKETS.get(socket) } {
            let key = ConnectionKey { socket, started_ns: followed.started_ns };
            return Self { key, task: Some(&followed.owner) };
        }
        Self { key: ConnectionKey { socket: 0, started_ns: 0 }, task: None }
    }

    /// [`Owner::of`], also for a socket that this CPU has just closed: an abort is closed first, and sends its
    /// RST then.
    #[inline(always)]
    pub fn of_aborted(socket: u64) -> Self {
        if socket != 0
            && let Some(last) = LAST_CLOSED.get(0)
        {
            let ports = Socket::of(socket).ports();
            for closed in &last.slots {
                if closed.socket == socket && closed.ports == ports {
                    let key = ConnectionKey { socket, started_ns: closed.started_ns };
                    return Self { key, task: Some(&closed.owner) };
                }
            }
        }
        Self::of(socket)
    }

    /// Writes the process into zeroed memory, if one is known.
    #[inline(always)]
    pub fn write(&self, target: &mut Task) {
        if let Some(task) = self.task {
            *target = *task;
        }
    }

    /// `Task::tgid` and `Task::started_ns`, or zeroes.
    #[inline(always)]
    pub fn process(&self) -> (u32, u64) {
        self.task.map_or((0, 0), |task| (task.tgid, task.started_ns))
    }
}

/// Remembers whose socket was just closed on this CPU.
#[inline(always)]
pub fn remember_closed(socket: u64, followed: &Followed) {
    if let Some(last) = LAST_CLOSED.get_ptr_mut(0) {
        // SAFETY: this CPU's own. Whoever interrupts this writes another slot, or is told by socket and ports.
        let last = unsafe { &mut *last };
        let slot: &mut Closed = &mut last.slots[(last.written & 3) as usize];
        last.written += 1;
        slot.socket = socket;
        slot.started_ns = followed.started_ns;
        slot.owner = followed.owner;
        slot.ports = followed.ports;
    }
}
