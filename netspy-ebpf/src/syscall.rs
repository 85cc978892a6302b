//! The connect system call, entered and left, where functions cannot be hooked. One program for every kind of socket:
//! finding the socket costs more than what is then noted.
//!
//! An attempt of TCP is reported by its socket's step to SYN_SENT (`state`); here is what only the call knows: when it
//! began, the destination that it named, and an error that it returned before anything was sent.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user, generated::bpf_ktime_get_ns},
    programs::TracePointContext,
};
use netspy_common::{ConnectionKey, MISSING, OutcomeRecord, kind, loss, subject};

use crate::{
    call, connect, datagram, emit,
    file::File,
    kernel::{Struct, from_record, offset},
    maps::{CONNECTS, Call, EVENTS, INFLIGHT, Inflight, SOCKETS, UNFOLLOWED, phase},
    socket::{
        self, AF_INET, AF_INET6, IPPROTO_MPTCP, IPPROTO_TCP, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM, Socket,
    },
    task,
    unix::{self, AF_UNIX},
};

/// Offsets in the tracepoints' records (events/syscalls/sys_{enter,exit}_connect/format).
const ENTER_FD: usize = 16;
const ENTER_ADDRESS: usize = 24;
const ENTER_LENGTH: usize = 32;
const EXIT_RETURNED: usize = 16;

/// Errors of a connect that is not over (uapi/asm-generic/errno.h, linux/errno.h): from the last on, all of them.
const EINTR: u32 = 4;
const EALREADY: u32 = 114;
const EINPROGRESS: u32 = 115;
const ERESTARTSYS: u32 = 512;

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
        (from_record(ctx, ENTER_FD), from_record(ctx, ENTER_ADDRESS), from_record(ctx, ENTER_LENGTH))
    };
    let Some(file) = File::of(fd & 0xffff_ffff) else { return };
    let socket = file.socket();
    if file.kind() == SOCK_STREAM && matches!(socket::protocol(socket), IPPROTO_TCP | IPPROTO_MPTCP) {
        if file.is_unconnected() && is_asked_for(subject::CONNECTION) {
            enter_tcp(socket, address);
        }
        return;
    }
    forget_tcp();
    let family = socket::family(socket);
    let call = Call { socket, inode: file.inode(), argument: address, length, ..Call::default() };
    if family == AF_UNIX && is_asked_for(subject::UNIX) {
        call::enter(subject::UNIX, call);
    } else if offset!(registers_first) == MISSING
        && is_of_datagrams(family, file.kind())
        && is_asked_for(subject::UDP)
    {
        call::enter(subject::UDP, call);
    }
}

/// Whether it is a socket of the event `udp`: UDP, ICMP echo or raw.
#[inline(always)]
fn is_of_datagrams(family: u16, kind: u32) -> bool {
    matches!(family, AF_INET | AF_INET6) && matches!(kind, SOCK_DGRAM | SOCK_RAW)
}

#[inline(always)]
fn enter_tcp(socket: u64, address: u64) {
    // SAFETY: the helper checks the address; a call with fewer bytes than `sockaddr_in` has fails.
    let start = unsafe { bpf_probe_read_user(address as *const [u8; 16]) }.unwrap_or_else(|_| {
        let mut start = [0; 16];
        // SAFETY: as above.
        [start[0], start[1]] = unsafe { bpf_probe_read_user(address as *const [u8; 2]) }.unwrap_or_default();
        start
    });
    let family = u16::from_ne_bytes([start[0], start[1]]);
    if family != AF_INET && family != AF_INET6 {
        return;
    }
    let read = |target: &mut [u8; 16], at| {
        if at == 0 {
            *target = start;
            return;
        }
        // SAFETY: the helper checks the address; sixteen bytes from 8 and 12 lie in a sockaddr_in6.
        if let Ok(bytes) = unsafe { bpf_probe_read_user((address + at) as *const [u8; 16]) } {
            *target = bytes;
        }
    };
    let (mut destination, port) = connect::parse_sockaddr(family, read);
    socket::write_scope(&mut destination, connect::scope(family, read));
    let call = Inflight { socket, started_ns: now(), destination, port, family, phase: phase::CALLED };
    if INFLIGHT.insert(bpf_get_current_pid_tgid(), call, 0).is_err() {
        emit::lost(loss::INFLIGHT_FULL, subject::CONNECTION);
        let _ = UNFOLLOWED.insert(bpf_get_current_pid_tgid(), socket, 0);
    }
}

/// Reports what only the return value says. `REGISTERS`: whether the arguments can still be had.
#[inline(always)]
pub fn leave<const REGISTERS: bool>(ctx: &TracePointContext) {
    // SAFETY: a constant offset inside the tracepoint's record.
    let returned = unsafe { from_record(ctx, EXIT_RETURNED) } as i32;
    let is_tcp = is_asked_for(subject::CONNECTION) && leave_tcp(returned);
    if is_tcp || REGISTERS && leave_datagrams(returned) {
        return;
    }
    let is_expected = |family| match family {
        AF_UNIX => is_asked_for(subject::UNIX),
        AF_INET | AF_INET6 => !REGISTERS && is_asked_for(subject::UDP),
        _ => false,
    };
    let was_noted = call::leave(is_expected, |call, socket| {
        if REGISTERS || socket.family() == AF_UNIX {
            unix::returned_from_syscall(call, socket, returned);
        } else {
            datagram::returned_from_syscall(call, socket, returned);
        }
    });
    if !was_noted {
        let _ = UNFOLLOWED.remove(bpf_get_current_pid_tgid());
    }
}

/// Reports a connect of a datagram socket, of which the return says everything. Says whether it was one.
#[inline(always)]
fn leave_datagrams(returned: i32) -> bool {
    let registers = task::registers();
    let Some(file) = File::of(registers.get::<u64>(offset!(registers_first)) & 0xffff_ffff) else {
        return false;
    };
    if file.kind() == SOCK_STREAM {
        return false;
    }
    let socket = Socket::of(file.socket());
    if !is_of_datagrams(socket.family(), file.kind()) {
        return false;
    }
    if is_asked_for(subject::UDP) {
        let call = Call {
            inode: file.inode(),
            argument: registers.get(offset!(registers_second)),
            started_ns: now(),
            ..Call::default()
        };
        datagram::returned_from_syscall(&call, &socket, returned);
    }
    true
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// Reports what only the return of a noted connect of TCP says. Says whether it was one.
#[inline(always)]
fn leave_tcp(returned: i32) -> bool {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the entry is this thread's own; it is removed when it has been used.
    let Some(call) = (unsafe { INFLIGHT.get(thread) }) else { return false };
    if returned < 0 {
        failed(call, returned.unsigned_abs());
    }
    let _ = INFLIGHT.remove(thread);
    true
}

/// Where the kernel skipped the return of an earlier connect of TCP, this return must not be taken for it.
#[inline(always)]
fn forget_tcp() {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: nothing of it is used.
    if unsafe { INFLIGHT.get(thread) }.is_some() {
        let _ = INFLIGHT.remove(thread);
    }
}

/// Reports an attempt whose end no state of its socket tells.
#[inline(always)]
fn failed(call: &Inflight, errno: u32) {
    let is_followed = is_still_followed(call, errno);
    let is_told_here = is_followed || phase::only_its_return_tells(call.phase);
    if !is_told_here || !connect::is_still_inside(call) {
        return;
    }
    if is_followed {
        let _ = SOCKETS.remove(call.socket);
    }
    if call.phase == phase::CALLED {
        connect::refused(call, errno);
    } else {
        emit::submit(&EVENTS, subject::CONNECTION, |record: &mut OutcomeRecord| {
            record.header = emit::header::<OutcomeRecord>(kind::OUTCOME, now());
            record.key = ConnectionKey { socket: call.socket, started_ns: call.started_ns };
            record.errno = errno;
        });
    }
}

/// Whether the kernel skipped the program that follows the socket when the attempt came to nothing: the return is then
/// the last that can tell.
#[inline(always)]
fn is_still_followed(call: &Inflight, errno: u32) -> bool {
    let goes_on = matches!(errno, EINTR | EALREADY | EINPROGRESS | ERESTARTSYS..);
    if call.phase != phase::FOLLOWED || goes_on {
        return false;
    }
    // SAFETY: copied at once.
    unsafe { SOCKETS.get(call.socket) }.is_some_and(|it| it.started_ns == call.started_ns)
}
