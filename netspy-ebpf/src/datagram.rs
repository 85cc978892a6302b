//! Connects of datagram sockets (UDP, ICMP echo, raw): nothing is sent, but the kernel looks for a route and a
//! source address, and may find none.
//!
//! `__ip4_datagram_connect` and `__ip6_datagram_connect` are what all of them come to, on every kernel. For a
//! v4-mapped address the second calls the first: one event. Where functions cannot be hooked it is the system call.

use aya_ebpf::{
    helpers::{bpf_probe_read_user, generated::bpf_ktime_get_ns},
    macros::{fexit, kprobe, kretprobe, tracepoint},
    programs::{FExitContext, ProbeContext, RetProbeContext, TracePointContext},
};
use netspy_common::{role, subject};

use crate::{
    call, connect, file, flow,
    kernel::read_into,
    socket::{self, AF_INET, AF_INET6, SOCK_DGRAM, SOCK_RAW},
    syscall::{ENTER_ADDRESS, ENTER_FD, EXIT_RETURNED},
};

/// `int __ip4_datagram_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)` (net/ipv4/datagram.c)
#[kprobe]
pub fn datagram_v4_enter_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(socket), Some(address)) = (ctx.arg(0), ctx.arg(1))
        && socket::family(socket) == AF_INET
    {
        call::enter(subject::UDP, socket, address, 0);
    }
    0
}

/// `__ip6_datagram_connect` alike (net/ipv6/datagram.c)
#[kprobe]
pub fn datagram_v6_enter_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(socket), Some(address)) = (ctx.arg(0), ctx.arg(1)) {
        call::enter(subject::UDP, socket, address, 0);
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
    let socket = ctx.arg(0);
    if socket::family(socket) == AF_INET {
        // SAFETY: a helper without arguments.
        let now = unsafe { bpf_ktime_get_ns() };
        report(socket, now, ctx.arg(3), true, |target, at| read_into(target, ctx.arg::<u64>(1) + at, 0));
    }
    0
}

/// The second likewise.
#[fexit]
pub fn datagram_v6_fexit(ctx: FExitContext) -> i32 {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    report(ctx.arg(0), now, ctx.arg(3), true, |target, at| read_into(target, ctx.arg::<u64>(1) + at, 0));
    0
}

/// `syscalls:sys_enter_connect`
#[tracepoint]
pub fn datagram_enter_syscall(ctx: TracePointContext) -> u32 {
    // SAFETY: constant offsets inside the tracepoint's record.
    let (fd, address) = unsafe { (ctx.read_at::<u64>(ENTER_FD), ctx.read_at(ENTER_ADDRESS)) };
    if let (Ok(fd), Ok(address)) = (fd, address) {
        let socket = file::socket(fd & 0xffff_ffff);
        let of_internet = matches!(socket::family(socket), AF_INET | AF_INET6);
        if of_internet && matches!(socket::kind(socket), SOCK_DGRAM | SOCK_RAW) {
            call::enter(subject::UDP, socket, address, 0);
        }
    }
    0
}

/// `syscalls:sys_exit_connect`
#[tracepoint]
pub fn datagram_return_syscall(ctx: TracePointContext) -> u32 {
    // SAFETY: a constant offset inside the tracepoint's record.
    let Ok(returned) = (unsafe { ctx.read_at::<i64>(EXIT_RETURNED) }) else { return 0 };
    let Some(call) = call::leave(&[AF_INET, AF_INET6]) else { return 0 };
    // SAFETY: the helper checks the address.
    let family = unsafe { bpf_probe_read_user(call.argument as *const u16) }.unwrap_or(0);
    if returned == 0 && family != AF_INET && family != AF_INET6 {
        return 0; // AF_UNSPEC takes the peer away
    }
    report(call.socket, call.started_ns, returned as i32, false, |target, at| {
        // SAFETY: the helper checks the address; sixteen bytes from 0 and from 8 lie in a sockaddr.
        if let Ok(bytes) = unsafe { bpf_probe_read_user((call.argument + at) as *const [u8; 16]) } {
            *target = bytes;
        }
    });
    0
}

#[inline(always)]
fn leave(family: u16, returned: i32) {
    let Some(call) = call::leave(&[family]) else { return };
    report(call.socket, call.started_ns, returned, true, |target, at| {
        read_into(target, call.argument + at, 0)
    });
}

/// Reports a connect; `read(target, offset)` reads the address that the caller gave.
#[inline(always)]
fn report(socket: u64, started_ns: u64, returned: i32, watched: bool, read: impl Fn(&mut [u8; 16], u64)) {
    let Some(mut key) = flow::connected_key(socket) else { return };
    let errno = if returned < 0 { returned.unsigned_abs() } else { 0 };
    if errno != 0 {
        // The socket was not connected: the remote end is what the caller named.
        let mut start = [0; 16];
        read(&mut start, 0);
        let family = u16::from_ne_bytes([start[0], start[1]]);
        (key.remote, key.port) = connect::parse_sockaddr(family, &read);
        key.family = family;
        key.scope = if socket::is_link_local(&key.remote) { connect::scope(family, &read) } else { 0 };
    }
    let has_ports = socket::has_ports(socket);
    if !has_ports {
        key.port = 0;
    }
    let subject = if has_ports { subject::UDP } else { subject::RAW };
    flow::report(subject, &key, started_ns, role::OUTBOUND, errno, |record| {
        record.watched = u32::from(watched);
        if errno == 0 {
            socket::tuple(socket, &mut record.tuple);
        }
        if !has_ports {
            // A raw socket keeps its protocol there, an echo socket its identifier.
            (record.tuple.source_port, record.tuple.destination_port) = (0, 0);
        }
    });
}
