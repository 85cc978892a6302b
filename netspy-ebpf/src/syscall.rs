//! The rung without kprobes: the connect system call, entered and left. The attempt itself is reported by
//! the socket's step to SYN_SENT (`state`); here is what only the call knows: when it began, the
//! destination that it named, and an error that it returned before anything was sent.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user, generated::bpf_ktime_get_ns},
    programs::TracePointContext,
};
use netspy_common::{ConnectionKey, OutcomeRecord, kind, loss, subject};

use crate::{
    connect, emit, file,
    maps::{EVENTS, INFLIGHT, Inflight, UNFOLLOWED, phase},
    socket::{self, AF_INET, AF_INET6, IPPROTO_MPTCP, IPPROTO_TCP},
};

/// Offsets in the tracepoints' records (events/syscalls/sys_{enter,exit}_connect/format).
pub const ENTER_FD: usize = 16;
pub const ENTER_ADDRESS: usize = 24;
pub const ENTER_LENGTH: usize = 32;
pub const EXIT_RETURNED: usize = 16;

/// Notes that the current thread is inside connect on a TCP socket.
#[inline(always)]
pub fn enter(ctx: &TracePointContext) {
    // SAFETY: constant offsets inside the tracepoint's record.
    let (Ok(fd), Ok(address)) =
        (unsafe { ctx.read_at::<u64>(ENTER_FD) }, unsafe { ctx.read_at::<u64>(ENTER_ADDRESS) })
    else {
        return;
    };
    // SAFETY: the helper checks the address.
    let Ok(family) = (unsafe { bpf_probe_read_user(address as *const u16) }) else { return };
    if family != AF_INET && family != AF_INET6 {
        return;
    }
    let socket = file::unconnected_socket(fd & 0xffff_ffff);
    let protocol = socket::protocol(socket);
    if socket == 0 || (protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP) {
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
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the entry is this thread's own; copied before it is removed.
    let Some(call) = (unsafe { INFLIGHT.get(thread) }).copied() else {
        let _ = UNFOLLOWED.remove(thread);
        return;
    };
    let _ = INFLIGHT.remove(thread);
    // SAFETY: a constant offset inside the tracepoint's record.
    let returned = unsafe { ctx.read_at::<i64>(EXIT_RETURNED) }.unwrap_or(0);
    if returned >= 0 {
        return;
    }
    let errno = returned.unsigned_abs() as u32;
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
