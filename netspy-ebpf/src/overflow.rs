//! Connections that a listener has no room for: more are waiting to be accepted than `listen` allowed.
//!
//! The kernel looks at the queue when a SYN comes (`tcp_conn_request`) and again when the handshake is complete
//! (`tcp_v4_syn_recv_sock` and its namesake); at the same moments, and with the same question, so does this. The
//! verifier wants constant positions of arguments: the server makes sure by their types that these are right.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use netspy_common::{MISSING, kind};

use crate::{
    kernel::{Probed, offset, read_or_zero},
    owner::Owner,
    packet::{self, ETH_P_IP, Packet},
    trouble,
};

/// `int tcp_conn_request(…, struct sock *sk, struct sk_buff *skb)` (net/ipv4/tcp_input.c)
#[kprobe]
pub fn request_kprobe(ctx: ProbeContext) -> u32 {
    asked(ctx.arg(2).unwrap_or(0), ctx.arg(3).unwrap_or(0));
    0
}

/// The same on a kernel without kprobes.
#[fentry]
pub fn request_fentry(ctx: FEntryContext) -> i32 {
    asked(ctx.arg(2), ctx.arg(3));
    0
}

/// `struct sock *tcp_v4_syn_recv_sock(const struct sock *sk, struct sk_buff *skb, …)` (net/ipv4/tcp_ipv4.c)
#[kprobe]
pub fn complete_v4_kprobe(ctx: ProbeContext) -> u32 {
    asked(ctx.arg(0).unwrap_or(0), ctx.arg(1).unwrap_or(0));
    0
}

/// The same on a kernel without kprobes.
#[fentry]
pub fn complete_v4_fentry(ctx: FEntryContext) -> i32 {
    asked(ctx.arg(0), ctx.arg(1));
    0
}

/// `tcp_v6_syn_recv_sock`, with the same arguments (net/ipv6/tcp_ipv6.c)
#[kprobe]
pub fn complete_v6_kprobe(ctx: ProbeContext) -> u32 {
    asked_v6(ctx.arg(0).unwrap_or(0), ctx.arg(1).unwrap_or(0));
    0
}

/// The same on a kernel without kprobes.
#[fentry]
pub fn complete_v6_fentry(ctx: FEntryContext) -> i32 {
    asked_v6(ctx.arg(0), ctx.arg(1));
    0
}

/// A v4-mapped connection passes through both functions: it is `tcp_v4_syn_recv_sock` that looks at the queue.
#[inline(always)]
fn asked_v6(listener: u64, skb: u64) {
    if Packet::of(&Probed(skb)).ether_type != ETH_P_IP {
        asked(listener, skb);
    }
}

/// A connection asks to be taken into the queue of `listener`.
#[inline(always)]
fn asked(listener: u64, skb: u64) {
    let backlog: u32 = read_or_zero(listener, offset!(sock_ack_backlog));
    let limit: u32 = read_or_zero(listener, offset!(sock_max_ack_backlog));
    // As sk_acceptq_is_full asks (include/net/sock.h).
    if backlog <= limit {
        return;
    }
    trouble::report(kind::LISTEN_OVERFLOW, MISSING, &Owner::of(listener), |record| {
        let skb = Probed(skb);
        Packet::of(&skb).tuple(&mut record.tuple);
        record.netns = packet::netns(listener, &skb);
        record.backlog = backlog;
        record.backlog_limit = limit;
    });
}
