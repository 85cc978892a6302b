//! netspy's eBPF programs: the entry points and which hook each is for. What they do is in one file per
//! concern; policy and formatting are the server's.
//!
//! Two rungs give the same records. With kprobes: `tcp_v{4,6}_{enter,return}`. Without: `connect_enter`,
//! `connect_exit`, and the step CLOSE → SYN_SENT that `socket_state` sees. The server loads what its kernel
//! can attach.
#![no_std]
#![no_main]
// The target has no stable atomics; the one instruction that it has (XADD) is an intrinsic.
#![feature(core_intrinsics, stmt_expr_attributes)]
#![allow(internal_features)]

mod accept;
mod call;
mod connect;
mod datagram;
mod emit;
mod file;
mod flow;
mod kernel;
mod limit;
mod maps;
mod overflow;
mod owner;
mod packet;
mod packet_drop;
mod process;
mod sendmsg;
mod socket;
mod state;
mod syscall;
mod task;
mod trouble;
mod udp;
mod unix;

use aya_ebpf::{
    macros::{btf_tracepoint, kprobe, kretprobe, raw_tracepoint, tracepoint},
    programs::{
        BtfTracePointContext, ProbeContext, RawTracePointContext, RetProbeContext, TracePointContext,
    },
};

/// `int tcp_v4_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)` (net/ipv4/tcp_ipv4.c)
#[kprobe]
pub fn tcp_v4_enter(ctx: ProbeContext) -> u32 {
    connect::enter(&ctx, socket::AF_INET);
    0
}

/// Its return.
#[kretprobe]
pub fn tcp_v4_return(ctx: RetProbeContext) -> u32 {
    connect::leave(&ctx, socket::AF_INET);
    0
}

/// `int tcp_v6_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)` (net/ipv6/tcp_ipv6.c)
#[kprobe]
pub fn tcp_v6_enter(ctx: ProbeContext) -> u32 {
    connect::enter(&ctx, socket::AF_INET6);
    0
}

/// Its return.
#[kretprobe]
pub fn tcp_v6_return(ctx: RetProbeContext) -> u32 {
    connect::leave(&ctx, socket::AF_INET6);
    0
}

/// `syscalls:sys_enter_connect`
#[tracepoint]
pub fn connect_enter(ctx: TracePointContext) -> u32 {
    syscall::enter(&ctx);
    0
}

/// `syscalls:sys_exit_connect`
#[tracepoint]
pub fn connect_exit(ctx: TracePointContext) -> u32 {
    syscall::leave::<true>(&ctx);
    0
}

/// The same on kernels before 5.15, where the return does not tell what was asked for: of every call its entry takes a note.
#[tracepoint]
pub fn connect_exit_noted(ctx: TracePointContext) -> u32 {
    syscall::leave::<false>(&ctx);
    0
}

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn socket_state(ctx: BtfTracePointContext) -> i32 {
    state::changed(&ctx);
    0
}

/// `kfree_skb(struct sk_buff *skb, void *location[, enum skb_drop_reason reason[, struct sock *rx_sk]])`
#[btf_tracepoint(function = "kfree_skb")]
pub fn packet_drop(ctx: BtfTracePointContext) -> i32 {
    packet_drop::dropped(&ctx);
    0
}

/// `tcp_retransmit_skb(const struct sock *sk, const struct sk_buff *skb[, int err])`
#[raw_tracepoint]
pub fn retransmit(ctx: RawTracePointContext) -> i32 {
    trouble::retransmitted(&ctx);
    0
}

/// `tcp_send_reset(const struct sock *sk, const struct sk_buff *skb[, const enum sk_rst_reason reason])`
#[btf_tracepoint(function = "tcp_send_reset")]
pub fn reset_sent(ctx: BtfTracePointContext) -> i32 {
    trouble::sent_reset(&ctx);
    0
}

/// `tcp_receive_reset(struct sock *sk)`
#[btf_tracepoint(function = "tcp_receive_reset")]
pub fn reset_received(ctx: BtfTracePointContext) -> i32 {
    trouble::received_reset(&ctx);
    0
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // SAFETY: the programs contain no panicking path; the compiler removes this function.
    unsafe { core::hint::unreachable_unchecked() }
}

/// Some helpers are only for programs under a licence compatible with the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
