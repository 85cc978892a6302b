//! Packets that the kernel throws away: `skb:kfree_skb` means "dropped", `consume_skb` is a normal free.

use aya_ebpf::{helpers::generated::bpf_ktime_get_ns, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use netspy_common::{ConnectionKey, DropRecord, MISSING, direction, kind};

use crate::{
    emit, flow,
    kernel::{Struct, Typed, offset, read_into, read_or_zero, untyped},
    limit::{self, Counted},
    owner::Owner,
    packet::{self, Packet},
    socket::{self, AF_INET, AF_INET6, Socket},
};

/// One packet was dropped.
#[inline(always)]
pub fn dropped(ctx: &BtfTracePointContext) {
    let location: u64 = ctx.arg(1);
    // SAFETY: the tracepoint's first argument is a `struct sk_buff *`.
    let skb = unsafe { Typed::of(ctx.arg(0)) };
    let skb = &skb;
    let socket = socket_of(ctx, skb);
    let socket_family = socket::family(socket);
    let of_internet = socket_family == AF_INET || socket_family == AF_INET6;
    if socket != 0 && !of_internet {
        return; // a message between processes or to the kernel (unix, netlink), not a packet
    }
    let packet = Packet::of(skb);
    let device: u64 = skb.get(offset!(skb_dev));
    if !of_internet && device == 0 && !packet.is_ip() {
        return; // neither addresses nor a device: not a packet of the network
    }
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let reason = reason(ctx);
    let owner = Owner::of(socket);
    let event = Counted { kind: kind::DROP, reason, location };
    limit::deliver(event, &owner, now, |record: &mut DropRecord| {
        record.header = emit::header::<DropRecord>(kind::DROP, now);
        record.location = location;
        record.reason = reason;
        record.length = skb.get(offset!(skb_len));
        record.netns = packet::netns(socket, skb);
        record.ether_type = u32::from(packet.ether_type);
        read_into(&mut record.interface_name, device, offset!(dev_name));
        way(skb, device, record);
        packet.tuple(&mut record.tuple);
        if record.tuple.family == 0 && of_internet {
            // On its way out, before it has headers: its socket knows both ends.
            Socket::of(socket).write(&mut record.tuple);
        }
        record.key = owner.key;
        owner.write(&mut record.owner);
        if record.key.socket == 0
            && let Some(flow) = flow::of_packet(socket, &record.tuple, record.interface)
        {
            record.key = ConnectionKey { socket, started_ns: flow.started_ns };
            record.owner = flow.owner;
        }
    });
    debug!(ctx, "drop reason {} length {}", reason, skb.get::<u32>(offset!(skb_len)));
}

/// Writes at which interface and on which way the packet was. The kernel notes in a packet which interface
/// received it, and takes that back when it enters a namespace from another.
#[inline(always)]
fn way(skb: &Typed, device: u64, record: &mut DropRecord) {
    let at: u32 = read_or_zero(device, offset!(dev_ifindex));
    let received_by: u32 = skb.get(offset!(skb_iif));
    record.interface = if at == 0 { received_by } else { at };
    record.direction = if received_by == 0 {
        // One without a socket may be the kernel's own, or not yet have got as far as to be noted.
        let is_owned = skb.get::<u64>(offset!(skb_sk)) != 0;
        if is_owned { direction::SENT } else { direction::UNKNOWN }
    } else if at == 0 || at == received_by {
        direction::RECEIVED
    } else {
        direction::FORWARDED
    };
}

/// The packet's socket, or the one that was to receive it.
#[inline(always)]
fn socket_of(ctx: &BtfTracePointContext, skb: &Typed) -> u64 {
    let own: u64 = skb.get(offset!(skb_sk));
    if own != 0 {
        return own;
    }
    // The verifier wants constant positions in the context; the server found this one by its type.
    if offset!(kfree_skb_rx_sk) == 3 { untyped(ctx, 3) } else { 0 }
}

#[inline(always)]
fn reason(ctx: &BtfTracePointContext) -> u32 {
    if offset!(kfree_skb_reason) == 2 { ctx.arg(2) } else { MISSING }
}
