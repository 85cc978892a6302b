//! Connects of datagram sockets (UDP, ICMP echo, raw): nothing is sent, but the kernel looks for a route and a
//! source address, and may find none.
//!
//! `__ip4_datagram_connect` and `__ip6_datagram_connect` are what all of them come to, on every kernel. For a
//! v4-mapped address the second calls the first: one event. Where functions cannot be hooked it is the system call.

use aya_ebpf::{
    helpers::{bpf_probe_read_user, generated::bpf_ktime_get_ns},
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use netspy_common::{FlowKey, role, subject};

use crate::{
    call, connect, flow,
    kernel::read_into,
    maps::Call,
    socket::{self, AF_INET, AF_INET6, CONNECTED, Socket},
};

/// `int __ip4_datagram_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)` (net/ipv4/datagram.c)
#[kprobe]
pub fn datagram_v4_enter_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(socket), Some(address)) = (ctx.arg(0), ctx.arg(1))
        && socket::family(socket) == AF_INET
    {
        call::enter(subject::UDP, Call { socket, argument: address, ..Call::default() });
    }
    0
}

/// `__ip6_datagram_connect` alike (net/ipv6/datagram.c)
#[kprobe]
pub fn datagram_v6_enter_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(socket), Some(address)) = (ctx.arg(0), ctx.arg(1)) {
        call::enter(subject::UDP, Call { socket, argument: address, ..Call::default() });
    }
    0
}

/// The return of the first.
#[kretprobe]
pub fn datagram_v4_return_kprobe(ctx: RetProbeContext) -> u32 {
    leave(AF_INET, ctx.ret());
    0
}

/// The return of the second.
#[kretprobe]
pub fn datagram_v6_return_kprobe(ctx: RetProbeContext) -> u32 {
    leave(AF_INET6, ctx.ret());
    0
}

/// The first on a kernel without kprobes: its return value follows its three arguments.
#[fexit]
pub fn datagram_v4_fexit(ctx: FExitContext) -> i32 {
    let socket = Socket::of(ctx.arg(0));
    if socket.family() == AF_INET {
        report(&socket, &begun_now(), ctx.arg(3), true, |target, at| {
            read_into(target, ctx.arg::<u64>(1) + at, 0)
        });
    }
    0
}

/// The second likewise.
#[fexit]
pub fn datagram_v6_fexit(ctx: FExitContext) -> i32 {
    report(&Socket::of(ctx.arg(0)), &begun_now(), ctx.arg(3), true, |target, at| {
        read_into(target, ctx.arg::<u64>(1) + at, 0)
    });
    0
}

/// A call of which only the return is seen.
#[inline(always)]
fn begun_now() -> Call {
    // SAFETY: a helper without arguments.
    Call { started_ns: unsafe { bpf_ktime_get_ns() }, ..Call::default() }
}

/// Where functions cannot be hooked: the system call, whose address is in the caller's memory.
#[inline(always)]
pub fn returned_from_syscall(call: &Call, socket: &Socket, returned: i32) {
    if returned == 0 && socket.state() != CONNECTED {
        return; // AF_UNSPEC takes the peer away
    }
    report(socket, call, returned, false, |target, at| {
        // SAFETY: the helper checks the address; sixteen bytes from 0 and from 8 lie in a sockaddr.
        if let Ok(bytes) = unsafe { bpf_probe_read_user((call.argument + at) as *const [u8; 16]) } {
            *target = bytes;
        }
    });
}

#[inline(always)]
fn leave(of: u16, returned: i32) {
    call::leave(
        |family| family == of,
        |call, socket| {
            report(socket, call, returned, true, |target, at| read_into(target, call.argument + at, 0));
        },
    );
}

/// Gives a flow the remote end that `read(target, offset)` reads. A function of its own, because the caller's stack has
/// no room for what it needs.
#[inline(never)]
fn name(key: &mut FlowKey, read: &impl Fn(&mut [u8; 16], u64)) {
    let mut start = [0; 16];
    read(&mut start, 0);
    key.family = u16::from_ne_bytes([start[0], start[1]]);
    (key.remote, key.port) = connect::parse_sockaddr(key.family, read);
    key.scope = if socket::is_link_local(&key.remote) { connect::scope(key.family, read) } else { 0 };
}

/// Reports a connect; `read(target, offset)` reads the address that the caller gave.
#[inline(always)]
fn report(socket: &Socket, call: &Call, returned: i32, watched: bool, read: impl Fn(&mut [u8; 16], u64)) {
    let Some(mut key) = flow::connected_key(socket, call.inode) else { return };
    let errno = if returned < 0 { returned.unsigned_abs() } else { 0 };
    if errno != 0 {
        // The socket was not connected: the remote end is what the caller named.
        name(&mut key, &read);
    }
    let has_ports = socket.has_ports();
    if !has_ports {
        key.port = 0;
    }
    let subject = if has_ports { subject::UDP } else { subject::RAW };
    flow::report(subject, socket, &key, call.started_ns, role::OUTBOUND, errno, |record| {
        record.watched = u32::from(watched);
        if errno == 0 {
            socket.write(&mut record.tuple);
        }
        if !has_ports {
            // A raw socket keeps its protocol there, an echo socket its identifier.
            (record.tuple.source_port, record.tuple.destination_port) = (0, 0);
        }
    });
}
