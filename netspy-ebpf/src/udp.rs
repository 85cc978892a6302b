//! What passes through UDP sockets, and the end of every datagram socket.
//!
//! A datagram is seen where its headers are complete: on its way to the IP layer in the sender's context, and when
//! the receiver has taken it. So both ends are known, connected or not.

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns,
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use netspy_common::{ReleaseRecord, Tuple, kind, subject};

use crate::{
    emit,
    flow::{self, Way},
    kernel::{offset, read_into, read_or_zero},
    maps::{EVENTS, FLOWS},
    socket::{self, AF_INET, AF_INET6, CONNECTED, Socket},
};

/// Bytes of a UDP header (RFC 768).
const HEADER: u32 = 8;
/// Where a UDP header has its source port and, two bytes on, its destination port.
const PORTS: u32 = 0;

/// `int ip_send_skb(struct net *net, struct sk_buff *skb)` (net/ipv4/ip_output.c)
#[kprobe]
pub fn udp_send_v4_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(skb) = ctx.arg(1) {
        sent(skb, false);
    }
    0
}

/// The same on a kernel without kprobes.
#[fentry]
pub fn udp_send_v4_fentry(ctx: FEntryContext) -> i32 {
    sent(ctx.arg(1), false);
    0
}

/// `int ip6_send_skb(struct sk_buff *skb)` (net/ipv6/ip6_output.c)
#[kprobe]
pub fn udp_send_v6_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(skb) = ctx.arg(0) {
        sent(skb, true);
    }
    0
}

/// The same on a kernel without kprobes.
#[fentry]
pub fn udp_send_v6_fentry(ctx: FEntryContext) -> i32 {
    sent(ctx.arg(0), true);
    0
}

/// `void skb_consume_udp(struct sock *sk, struct sk_buff *skb, int len)` (net/ipv4/udp.c)
#[kprobe]
pub fn udp_receive_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(socket), Some(skb), Some(length)) = (ctx.arg(0), ctx.arg(1), ctx.arg(2)) {
        received(socket, skb, length);
    }
    0
}

/// The same on a kernel without kprobes.
#[fentry]
pub fn udp_receive_fentry(ctx: FEntryContext) -> i32 {
    received(ctx.arg(0), ctx.arg(1), ctx.arg(2));
    0
}

/// `void sock_def_error_report(struct sock *sk)` (net/core/sock.c)
#[kprobe]
pub fn udp_error_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(socket) = ctx.arg(0) {
        failed(socket);
    }
    0
}

/// The same on a kernel without kprobes.
#[fentry]
pub fn udp_error_fentry(ctx: FEntryContext) -> i32 {
    failed(ctx.arg(0));
    0
}

/// `void sk_common_release(struct sock *sk)` (net/core/sock.c): UDP, ICMP echo and raw sockets end here.
#[kprobe]
pub fn release_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(socket) = ctx.arg(0) {
        released(socket);
    }
    0
}

/// The same on a kernel without kprobes.
#[fentry]
pub fn release_fentry(ctx: FEntryContext) -> i32 {
    released(ctx.arg(0));
    0
}

/// A datagram whose headers lie at these places.
struct Datagram {
    /// Address of its network header.
    network: u64,
    /// Of its UDP header.
    transport: u64,
    /// Bytes from the one to the other.
    between: u32,
    v6: bool,
}

impl Datagram {
    #[inline(always)]
    fn of(skb: u64, v6: bool) -> Self {
        let head: u64 = read_or_zero(skb, offset!(skb_head));
        let network = u32::from(read_or_zero::<u16>(skb, offset!(skb_network_header)));
        let transport = u32::from(read_or_zero::<u16>(skb, offset!(skb_transport_header)));
        Self {
            network: head + u64::from(network),
            transport: head + u64::from(transport),
            between: transport.wrapping_sub(network),
            v6,
        }
    }

    /// Writes its source (`which` 0) or destination (1), address and port, in the form of a socket of `family`.
    #[inline(always)]
    fn end(&self, which: u32, family: u16, address: &mut [u8; 16]) -> u16 {
        // RFC 8200 §3, RFC 791 §3.1
        if self.v6 {
            read_into(address, self.network, 8 + 16 * which);
        } else {
            flow::write_v4(address, family, self.network, 12 + 4 * which);
        }
        u16::from_be(read_or_zero(self.transport, PORTS + 2 * which))
    }
}

/// In the sender's context.
#[inline(always)]
fn sent(skb: u64, v6: bool) {
    let socket = Socket::of(read_or_zero(skb, offset!(skb_sk)));
    if !socket.has_ports() {
        return;
    }
    let Some(mut key) = flow::key(&socket, 0) else { return };
    let datagram = Datagram::of(skb, v6);
    key.port = datagram.end(1, key.family, &mut key.remote);
    if v6 && socket::is_link_local(&key.remote) {
        let route = read_or_zero::<u64>(skb, offset!(skb_refdst)) & !1;
        key.scope = read_or_zero(read_or_zero(route, offset!(dst_dev)), offset!(dev_ifindex));
    }
    let length: u32 = read_or_zero(skb, offset!(skb_len));
    let payload = length.saturating_sub(datagram.between + HEADER);
    let family = key.family;
    flow::count(subject::UDP, &socket, &key, Way::Sent, payload.into(), |tuple: &mut Tuple| {
        tuple.source_port = datagram.end(0, family, &mut tuple.source);
    });
}

/// In the receiver's context. A length below zero means that it only peeked; that of an empty datagram never is.
#[inline(always)]
fn received(socket: u64, skb: u64, length: i32) {
    let socket = Socket::of(socket);
    if length < 0 || !socket.has_ports() || (length == 0 && flow::was_peeked_at(skb)) {
        return;
    }
    let Some(mut key) = flow::key(&socket, 0) else { return };
    let v6 = read_or_zero::<u16>(skb, offset!(skb_protocol)) == 0x86dd_u16.to_be();
    let datagram = Datagram::of(skb, v6);
    key.port = datagram.end(0, key.family, &mut key.remote);
    if v6 && socket::is_link_local(&key.remote) {
        // `struct inet6_skb_parm` begins with the interface that it came through.
        key.scope = read_or_zero(skb, offset!(skb_cb));
    }
    let family = key.family;
    flow::count(
        subject::UDP,
        &socket,
        &key,
        Way::Received,
        u64::from(length.unsigned_abs()),
        |tuple: &mut Tuple| {
            tuple.source_port = datagram.end(1, family, &mut tuple.source);
        },
    );
}

/// The network reported an error to a socket: of a connected one its flow is known.
#[inline(always)]
fn failed(socket: u64) {
    let socket = Socket::of(socket);
    if socket.state() != CONNECTED || !socket.has_ports() {
        return;
    }
    let Some(key) = flow::connected_key(&socket, 0) else { return };
    let Some(flow) = FLOWS.get_ptr_mut(&key) else { return };
    let errno = read_or_zero(socket.address, offset!(sock_err));
    // SAFETY: the socket's errors come one after the other.
    unsafe {
        if (*flow).errno == 0 {
            (*flow).errno = errno;
            (*flow).failed_ns = bpf_ktime_get_ns();
        }
    }
}

/// A socket is closed: whatever was sent and received through it was counted.
#[inline(always)]
fn released(socket: u64) {
    let socket = Socket::of(socket);
    let family = socket.family();
    let bound = socket.local_port() != 0;
    // Without a local port nothing was sent or received.
    if !bound || (family != AF_INET && family != AF_INET6) {
        return;
    }
    let inode = flow::inode(socket.address);
    if inode == 0 {
        return;
    }
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let subject = if socket.has_ports() { subject::UDP } else { subject::RAW };
    emit::submit(&EVENTS, subject, |record: &mut ReleaseRecord| {
        record.header = emit::header::<ReleaseRecord>(kind::RELEASE, now);
        (record.socket, record.inode) = (socket.address, inode);
    });
}
