//! Packets that the kernel throws away: `skb:kfree_skb` means "dropped", `consume_skb` is a normal free.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns},
    programs::RawTracePointContext,
};
use aya_log_ebpf::debug;
use netspy_common::{ConnectionKey, DropRecord, MISSING, kind, loss};

use crate::{
    emit,
    kernel::{offset, read_or_zero},
    maps::{DROPS, INFLIGHT, SOCKETS},
    packet::Packet,
    socket::{self, AF_INET, AF_INET6},
    task,
};

/// One packet was dropped.
#[inline(always)]
pub fn dropped(ctx: &RawTracePointContext) {
    let (skb, location): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    let socket = socket_of(ctx, skb);
    let socket_family = socket::family(socket);
    let of_internet = socket_family == AF_INET || socket_family == AF_INET6;
    if socket != 0 && !of_internet {
        return; // a message between processes or to the kernel (unix, netlink), not a packet
    }
    let packet = Packet::of(skb);
    let device: u64 = read_or_zero(skb, offset!(skb_dev));
    if !of_internet && device == 0 && !packet.is_ip() {
        return; // neither addresses nor a device: not a packet of the network
    }
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let reason = reason(ctx);
    emit::submit(&DROPS, loss::DROPS_RING_FULL, |record: &mut DropRecord| {
        record.header = emit::header::<DropRecord>(kind::DROP, now);
        record.location = location;
        record.reason = reason;
        record.length = read_or_zero(skb, offset!(skb_len));
        record.interface = read_or_zero(device, offset!(dev_ifindex));
        record.netns = netns(socket, device);
        record.ether_type = u32::from(packet.ether_type);
        packet.tuple(&mut record.tuple);
        if record.tuple.family == 0 && of_internet {
            // On its way out, before it has headers: its socket knows both ends.
            socket::tuple(socket, &mut record.tuple);
        }
        own(socket, record);
    });
    debug!(ctx, "drop reason {} length {}", reason, read_or_zero::<u32>(skb, offset!(skb_len)));
}

/// Writes whose socket it is, where that is known.
#[inline(always)]
fn own(socket: u64, record: &mut DropRecord) {
    // SAFETY: copied at once; the owner of a socket does not change while it is followed.
    if let Some(followed) = unsafe { SOCKETS.get(socket) } {
        record.key = ConnectionKey { socket, started_ns: followed.started_ns };
        record.owner = followed.owner;
        return;
    }
    // The first packet of all is sent inside the connect call, before the socket is followed.
    // SAFETY: the entry is the current thread's own; whatever context this is, it is inside that call.
    if let Some(call) = unsafe { INFLIGHT.get(bpf_get_current_pid_tgid()) }
        && socket != 0
        && call.socket == socket
    {
        record.key = ConnectionKey { socket, started_ns: call.started_ns };
        record.owner = task::current();
    }
}

/// The packet's socket, or the one that was to receive it.
#[inline(always)]
fn socket_of(ctx: &RawTracePointContext, skb: u64) -> u64 {
    let own: u64 = read_or_zero(skb, offset!(skb_sk));
    if own != 0 {
        return own;
    }
    // The verifier wants constant positions in the context; the server found this one by its type.
    if offset!(kfree_skb_rx_sk) == 3 { ctx.arg(3) } else { 0 }
}

#[inline(always)]
fn reason(ctx: &RawTracePointContext) -> u32 {
    if offset!(kfree_skb_reason) == 2 { ctx.arg(2) } else { MISSING }
}

#[inline(always)]
fn netns(socket: u64, device: u64) -> u32 {
    let net: u64 = read_or_zero(device, offset!(dev_net));
    if net != 0 { read_or_zero(net, offset!(net_inum)) } else { socket::netns(socket) }
}
