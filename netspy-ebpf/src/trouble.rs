//! Segments that are sent again, and connections that are reset by either end.
//!
//! The socket of a RST may be a full one, a request or one in TIME-WAIT; what is read of it here all of them
//! have (`struct sock_common`), but for the protocol: it is TCP.

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns,
    programs::{BtfTracePointContext, RawTracePointContext},
};
use netspy_common::{MISSING, TroubleRecord, Tuple, kind};

use crate::{
    emit,
    kernel::{Probed, Struct as _, Typed, offset, untyped},
    limit::{self, Counted},
    owner::Owner,
    packet::{self, Packet},
    socket::{self, IPPROTO_TCP, SOCK_STREAM, Socket},
};

/// The kernel sent a segment again, or tried to.
#[inline(always)]
pub fn retransmitted(ctx: &RawTracePointContext) {
    let (socket, skb) = (ctx.arg(0), Probed(ctx.arg(1)));
    let error: i32 = if offset!(retransmit_error) == 2 { ctx.arg(2) } else { 0 };
    if error != 0 {
        return; // nothing was sent
    }
    report(kind::RETRANSMIT, MISSING, &Owner::of(socket), |record| {
        record.length = skb.get(offset!(skb_len));
        of_socket(socket, &mut record.tuple);
        record.netns = socket::netns(socket);
    });
}

/// This machine sent a RST: instead of a FIN, or as the answer to a packet that belongs to no connection.
#[inline(always)]
pub fn sent_reset(ctx: &BtfTracePointContext) {
    let (socket, skb) = (untyped(ctx, 0), ctx.arg::<u64>(1));
    let reason: u32 = if offset!(send_reset_reason) == 2 { ctx.arg(2) } else { MISSING };
    report(kind::RESET_SENT, reason, &Owner::of_aborted(socket), |record| {
        of_socket(socket, &mut record.tuple);
        if skb == 0 {
            record.netns = socket::netns(socket);
            return; // what an abort sends is no answer
        }
        // SAFETY: the tracepoint's second argument is a `struct sk_buff *`.
        let skb = unsafe { Typed::of(skb) };
        if record.tuple.destination_port == 0 {
            // No socket, or one that listens: the packet that is answered knows both ends.
            // SAFETY: integers and arrays of integers.
            record.tuple = unsafe { core::mem::zeroed() };
            Packet::of(&skb).tuple(&mut record.tuple);
            turn(&mut record.tuple);
        }
        record.netns = packet::netns(socket, &skb);
    });
}

/// The peer sent a RST that ends the connection.
#[inline(always)]
pub fn received_reset(ctx: &BtfTracePointContext) {
    let Some(socket) = Socket::of_tcp(ctx.arg(0)) else { return };
    report(kind::RESET_RECEIVED, MISSING, &Owner::of(socket.address), |record| {
        socket.write_at_close(&mut record.tuple);
        turn(&mut record.tuple);
        record.netns = socket.netns();
    });
}

/// Delivers or counts one event of `kind`; `fill` writes what is its own.
#[inline(always)]
pub fn report(kind: u16, reason: u32, owner: &Owner, fill: impl FnOnce(&mut TroubleRecord)) {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let event = Counted { kind, reason, location: 0 };
    limit::deliver(event, owner, now, |record: &mut TroubleRecord| {
        record.header = emit::header::<TroubleRecord>(kind, now);
        record.key = owner.key;
        owner.write(&mut record.owner);
        record.reason = reason;
        fill(record);
    });
}

/// Writes the two ends of a socket of TCP, this machine's first.
#[inline(always)]
fn of_socket(socket: u64, tuple: &mut Tuple) {
    Socket::of_kind(socket, SOCK_STREAM, IPPROTO_TCP).write_at_close(tuple);
}

/// Exchanges the two ends.
#[inline(always)]
fn turn(tuple: &mut Tuple) {
    core::mem::swap(&mut tuple.source, &mut tuple.destination);
    core::mem::swap(&mut tuple.source_port, &mut tuple.destination_port);
}
