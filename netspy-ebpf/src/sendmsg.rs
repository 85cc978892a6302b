//! What passes through ICMP echo and raw sockets. They have no function of their own where a packet's headers are
//! complete, so sending is seen at its call, and receiving where the packet is given back.

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns,
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use netspy_common::{FlowKey, role, subject};

use crate::{
    call,
    flow::{self, Way},
    kernel::{offset, read_into, read_or_zero},
    maps::Call,
    socket::{self, AF_INET, AF_INET6, IPPROTO_ICMP, IPPROTO_ICMPV6, SOCK_RAW, Socket},
};

/// Errors that mean "later", not "no".
const EINTR: u32 = 4;
const EAGAIN: u32 = 11;
const ERESTARTSYS: u32 = 512;

/// `int raw_sendmsg(struct sock *sk, struct msghdr *msg, size_t len)` (net/ipv4/raw.c); `ping_v4_sendmsg`,
/// `rawv6_sendmsg` and `ping_v6_sendmsg` alike
#[kprobe]
pub fn raw_send_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(socket), Some(message)) = (ctx.arg(0), ctx.arg(1)) {
        call::enter(subject::RAW, Call { socket, argument: message, ..Call::default() });
    }
    0
}

/// Their return.
#[kretprobe]
pub fn raw_return_kprobe(ctx: RetProbeContext) -> u32 {
    let of_internet = |family| matches!(family, AF_INET | AF_INET6);
    call::leave(of_internet, |call, socket| sent(socket, call.argument, call.started_ns, ctx.ret()));
    0
}

macro_rules! sent_fexit {
    ($($(#[$doc:meta])* $program:ident),*) => {$(
        $(#[$doc])*
        #[fexit]
        pub fn $program(ctx: FExitContext) -> i32 {
            // SAFETY: a helper without arguments.
            let now = unsafe { bpf_ktime_get_ns() };
            sent(&Socket::of(ctx.arg(0)), ctx.arg(1), now, ctx.arg(3));
            0
        }
    )*};
}

sent_fexit!(
    /// The same on a kernel without kprobes, where a program is loaded for one function.
    raw_v4_fexit,
    /// `rawv6_sendmsg`
    raw_v6_fexit,
    /// `ping_v4_sendmsg`
    ping_v4_fexit,
    /// `ping_v6_sendmsg`
    ping_v6_fexit
);

/// `void skb_free_datagram(struct sock *sk, struct sk_buff *skb)` (net/core/datagram.c): the receiver has taken it, or
/// looked at it.
#[kprobe]
pub fn raw_receive_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(socket), Some(skb)) = (ctx.arg(0), ctx.arg(1)) {
        received(socket, skb);
    }
    0
}

/// The same on a kernel without kprobes.
#[fentry]
pub fn raw_receive_fentry(ctx: FEntryContext) -> i32 {
    received(ctx.arg(0), ctx.arg(1));
    0
}

/// A packet was sent (`returned` bytes of it), or was not.
#[inline(always)]
fn sent(socket: &Socket, message: u64, started_ns: u64, returned: i32) {
    let Some(key) = remote(socket, message) else { return };
    if returned >= 0 {
        flow::count(subject::RAW, socket, &key, Way::Sent, u64::from(returned.unsigned_abs()), |tuple| {
            socket.local(&mut tuple.source)
        });
        return;
    }
    let errno = returned.unsigned_abs();
    if !matches!(errno, EINTR | EAGAIN | ERESTARTSYS) {
        flow::report(subject::RAW, socket, &key, started_ns, role::OUTBOUND, errno, |_| {});
    }
}

/// The flow that a message belongs to: its own address, or that of a connected socket.
#[inline(always)]
fn remote(socket: &Socket, message: u64) -> Option<FlowKey> {
    let mut key = flow::connected_key(socket, 0)?;
    key.port = 0;
    let name: u64 = read_or_zero(message, offset!(msg_name));
    if name != 0 {
        let v6 = read_or_zero::<u16>(name, 0) == AF_INET6;
        // `sin6_addr`, `sin6_scope_id`, `sin_addr` (uapi/linux/in6.h, in.h)
        if v6 {
            read_into(&mut key.remote, name, 8);
            key.scope = if socket::is_link_local(&key.remote) { read_or_zero(name, 24) } else { 0 };
        } else {
            read_into(socket::first_four(&mut key.remote), name, 4);
        }
    }
    Some(key)
}

/// A packet was received.
#[inline(always)]
fn received(socket: u64, skb: u64) {
    let socket = Socket::of(socket);
    let family = socket.family();
    let of_internet = family == AF_INET || family == AF_INET6;
    let echo = matches!(socket.protocol, IPPROTO_ICMP | IPPROTO_ICMPV6);
    if !of_internet || !(echo || socket.kind == SOCK_RAW) || flow::was_peeked_at(skb) {
        return;
    }
    let Some(mut key) = flow::key(&socket, 0) else { return };
    let head: u64 = read_or_zero(skb, offset!(skb_head));
    let network = head + u64::from(read_or_zero::<u16>(skb, offset!(skb_network_header)));
    if family == AF_INET6 {
        read_into(&mut key.remote, network, 8);
        if socket::is_link_local(&key.remote) {
            // `struct inet6_skb_parm` begins with the interface that it came through.
            key.scope = read_or_zero(skb, offset!(skb_cb));
        }
    } else {
        read_into(socket::first_four(&mut key.remote), network, 12);
    }
    let length: u32 = read_or_zero(skb, offset!(skb_len));
    flow::count(subject::RAW, &socket, &key, Way::Received, length.into(), |tuple| {
        socket.local(&mut tuple.source)
    });
}
