//! The connect system call, entered and left, where functions cannot be hooked. One program for every kind of socket:
//! finding the socket costs more than what is then noted.
//!
//! An attempt of TCP is reported by its socket's step to SYN_SENT (`state`); here is what only the call knows: when it
//! began, the destination that it named, and an error that it returned before anything was sent.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user, generated::bpf_ktime_get_ns},
    programs::TracePointContext,
};
use netspy_common::{ConnectionKey, OutcomeRecord, kind, loss, subject};

use crate::{
    call, connect, datagram, emit,
    file::File,
    maps::{CONNECTS, EVENTS, INFLIGHT, Inflight, UNFOLLOWED, phase},
    socket::{self, AF_INET, AF_INET6, IPPROTO_MPTCP, IPPROTO_TCP, SOCK_DGRAM, SOCK_RAW, Socket},
    unix::{self, AF_UNIX},
};

/// Offsets in the tracepoints' records (events/syscalls/sys_{enter,exit}_connect/format).
const ENTER_FD: usize = 16;
const ENTER_ADDRESS: usize = 24;
const ENTER_LENGTH: usize = 32;
const EXIT_RETURNED: usize = 16;

/// Whether calls on such a socket are asked for here: another rung may serve them (`netspy_common::subject`).
#[inline(always)]
fn is_asked_for(subject: u32) -> bool {
    CONNECTS.get(0).is_some_and(|subjects| subjects & (1 << subject) != 0)
}

/// Notes that the current thread is inside connect.
#[inline(always)]
pub fn enter(ctx: &TracePointContext) {
    // SAFETY: constant offsets inside the tracepoint's record.
    let (fd, address, length) = unsafe {
        (ctx.read_at::<u64>(ENTER_FD), ctx.read_at(ENTER_ADDRESS), ctx.read_at::<u64>(ENTER_LENGTH))
    };
    let (Ok(fd), Ok(address), Ok(length)) = (fd, address, length) else { return };
    let Some(file) = File::of(fd & 0xffff_ffff) else { return };
    let socket = Socket::of(file.socket());
    let of_internet = matches!(socket.family(), AF_INET | AF_INET6);
    if of_internet && matches!(socket.protocol, IPPROTO_TCP | IPPROTO_MPTCP) {
        if file.is_unconnected() && is_asked_for(subject::CONNECTION) {
            enter_tcp(socket.address, address);
        }
    } else if of_internet && matches!(socket.kind, SOCK_DGRAM | SOCK_RAW) {
        if is_asked_for(subject::UDP) {
            call::enter(subject::UDP, socket.address, address, 0);
        }
    } else if socket.family() == AF_UNIX && is_asked_for(subject::UNIX) {
        call::enter(subject::UNIX, socket.address, address, length as i32);
    }
}

#[inline(always)]
fn enter_tcp(socket: u64, address: u64) {
    // SAFETY: the helper checks the address.
    let Ok(family) = (unsafe { bpf_probe_read_user(address as *const u16) }) else { return };
    if family != AF_INET && family != AF_INET6 {
        return;
    }
    let read = |target: &mut [u8; 16], at| {
        // SAFETY: the helper checks the address; sixteen bytes from 0, 8 and 12 lie in a sockaddr.
        if let Ok(bytes) = unsafe { bpf_probe_read_user((address + at) as *const [u8; 16]) } {
            *target = bytes;
        }
    };
    let (mut destination, port) = connect::parse_sockaddr(family, read);
    socket::write_scope(&mut destination, connect::scope(family, read));
    // SAFETY: a helper without arguments.
    let started_ns = unsafe { bpf_ktime_get_ns() };
    let call = Inflight { socket, started_ns, destination, port, family, phase: phase::CALLED };
    if INFLIGHT.insert(bpf_get_current_pid_tgid(), call, 0).is_err() {
        emit::lost(loss::INFLIGHT_FULL, subject::CONNECTION);
        let _ = UNFOLLOWED.insert(bpf_get_current_pid_tgid(), socket, 0);
    }
}

/// Reports what only the return value says.
#[inline(always)]
pub fn leave(ctx: &TracePointContext) {
    // SAFETY: a constant offset inside the tracepoint's record.
    let returned = unsafe { ctx.read_at::<i64>(EXIT_RETURNED) }.unwrap_or(0) as i32;
    let is_expected = |family| is_asked_for(if family == AF_UNIX { subject::UNIX } else { subject::UDP });
    if let Some((call, socket)) = call::leave(is_expected) {
        if socket.family() == AF_UNIX {
            unix::returned_from_syscall(&call, &socket, returned);
        } else {
            datagram::returned_from_syscall(&call, &socket, returned);
        }
    } else if is_asked_for(subject::CONNECTION) {
        leave_tcp(returned);
    }
}

#[inline(always)]
fn leave_tcp(returned: i32) {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the entry is this thread's own; copied before it is removed.
    let Some(call) = (unsafe { INFLIGHT.get(thread) }).copied() else {
        let _ = UNFOLLOWED.remove(thread);
        return;
    };
    let _ = INFLIGHT.remove(thread);
    if returned >= 0 {
        return;
    }
    let errno = returned.unsigned_abs();
    if call.phase == phase::CALLED {
        connect::refused(&call, errno);
    } else if call.phase == phase::TAKEN_BACK {
        // SAFETY: a helper without arguments.
        let now = unsafe { bpf_ktime_get_ns() };
        emit::submit(&EVENTS, subject::CONNECTION, |record: &mut OutcomeRecord| {
            record.header = emit::header::<OutcomeRecord>(kind::OUTCOME, now);
            record.key = ConnectionKey { socket: call.socket, started_ns: call.started_ns };
            record.errno = errno;
        });
    }
}
