//! The rung with kprobes: `tcp_v4_connect` and `tcp_v6_connect`, entered and left.
//!
//! Both return at once, blocking socket or not, and run with the socket locked: an answer from the peer
//! waits until they have returned, so an outcome never comes before its attempt.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns},
    programs::{ProbeContext, RetProbeContext},
};
use aya_log_ebpf::debug;
use netspy_common::{ConnectRecord, ConnectionKey, kind, loss};

use crate::{
    emit,
    kernel::read_into,
    maps::{EVENTS, Followed, INFLIGHT, Inflight, SOCKETS, phase},
    socket::{self, AF_INET, AF_INET6, IPPROTO_TCP},
    task,
};

/// Notes that the current thread is inside connect.
#[inline(always)]
pub fn enter(ctx: &ProbeContext, family: u16) {
    let (Some(socket), Some(address)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else { return };
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the entry is this thread's own; nobody else writes it.
    if let Some(earlier) = unsafe { INFLIGHT.get(thread) } {
        // A v4-mapped address passes through tcp_v6_connect and then tcp_v4_connect: one attempt.
        if family == AF_INET && earlier.family == AF_INET6 && earlier.socket == socket {
            return;
        }
        emit::lost(loss::RETURN_MISSED);
    }
    let (destination, port) = parse_sockaddr(family, |target, at| read_into(target, address + at, 0));
    // SAFETY: a helper without arguments.
    let started_ns = unsafe { bpf_ktime_get_ns() };
    let call = Inflight { socket, started_ns, destination, port, family, phase: phase::CALLED };
    if INFLIGHT.insert(thread, call, 0).is_err() {
        emit::lost(loss::INFLIGHT_FULL);
    }
}

/// Reports the attempt that the current thread has just made.
#[inline(always)]
pub fn leave(ctx: &RetProbeContext, family: u16) {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: as in `enter`; copied before it is removed.
    let Some(call) = (unsafe { INFLIGHT.get(thread) }).copied() else { return };
    if call.family != family {
        return; // the inner half of a v4-mapped attempt
    }
    let _ = INFLIGHT.remove(thread);
    let returned: i32 = ctx.ret();
    report(ctx, &call, if returned < 0 { returned.unsigned_abs() } else { 0 });
}

/// Reports an attempt that the kernel began (`errno` 0) or refused at once.
#[inline(always)]
pub fn report(ctx: &impl EbpfContext, call: &Inflight, errno: u32) {
    let followed = Followed { started_ns: call.started_ns, settled: 0, owner: task::current() };
    if errno == 0 && SOCKETS.insert(call.socket, followed, 0).is_err() {
        emit::lost(loss::SOCKETS_FULL);
        return;
    }
    let delivered = emit::submit(&EVENTS, loss::EVENTS_RING_FULL, |record: &mut ConnectRecord| {
        record.header = emit::header::<ConnectRecord>(kind::CONNECT, call.started_ns);
        record.key = ConnectionKey { socket: call.socket, started_ns: call.started_ns };
        record.task = followed.owner;
        record.errno = errno;
        record.netns = socket::netns(call.socket);
        if errno == 0 {
            socket::tuple(call.socket, &mut record.tuple);
        } else {
            // All there is of an attempt that never got a route or a port: what the caller named.
            record.tuple.destination = call.destination;
            record.tuple.destination_port = call.port;
            record.tuple.family = call.family;
            record.tuple.protocol = IPPROTO_TCP;
        }
    });
    if !delivered {
        // Lost once: its outcome must not come alone and be counted again.
        let _ = SOCKETS.remove(call.socket);
    }
    // Always last: what follows a line of log is verified once for each way that writing it can end.
    debug!(ctx, "connect tgid {} errno {}", followed.owner.tgid, errno);
}

/// Address and port of a `struct sockaddr` of `family`, read by `read(target, offset)`.
/// `sockaddr_in`: port at 2, address at 4. `sockaddr_in6`: port at 2, address at 8 (uapi/linux/in{,6}.h).
#[inline(always)]
pub fn parse_sockaddr(family: u16, read: impl Fn(&mut [u8; 16], u64)) -> ([u8; 16], u16) {
    let mut address = [0; 16];
    read(&mut address, 0);
    let port = u16::from_be_bytes([address[2], address[3]]);
    if family == AF_INET {
        let v4 = [address[4], address[5], address[6], address[7]];
        address = [0; 16];
        *socket::first_four(&mut address) = v4;
    } else {
        read(&mut address, 8);
    }
    (address, port)
}
