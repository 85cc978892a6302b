//! Counting what passes between a datagram socket and one remote end.
//!
//! Only the first packet of a flow is a record; the server reads the counters when it wants them.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use netspy_common::{Flow, FlowKey, FlowRecord, Tuple, kind, loss, role};

use crate::{
    emit,
    kernel::{offset, read_into, read_or_zero},
    maps::{BPF_NOEXIST, EEXIST, EVENTS, FLOWS, NEW_FLOW},
    socket::{self, AF_INET, AF_INET6, Socket},
    task,
};

/// Inode number of a socket; 0 for one that no process holds, such as the kernel's own.
#[inline(always)]
pub fn inode(socket: u64) -> u64 {
    let holder: u64 = read_or_zero(socket, offset!(sock_socket));
    if read_or_zero::<u64>(holder, offset!(socket_file)) == 0 {
        return 0;
    }
    read_or_zero(holder, offset!(socket_inode))
}

/// A key without its remote end; `None` for a socket that is no process's.
#[inline(always)]
pub fn key(socket: &Socket, known_inode: u64) -> Option<FlowKey> {
    let inode = if known_inode == 0 { inode(socket.address) } else { known_inode };
    let (socket, family) = (socket.address, socket.family());
    (inode != 0).then_some(FlowKey { socket, inode, remote: [0; 16], port: 0, family, scope: 0 })
}

/// The key of a connected socket's flow.
#[inline(always)]
pub fn connected_key(socket: &Socket, known_inode: u64) -> Option<FlowKey> {
    let mut key = key(socket, known_inode)?;
    key.port = socket.remote(&mut key.remote);
    if key.family == AF_INET6 && socket::is_link_local(&key.remote) {
        key.scope = socket.device();
    }
    Some(key)
}

/// Writes an IPv4 address at `base + at` in the form of a socket of `family`.
#[inline(always)]
pub fn write_v4(target: &mut [u8; 16], family: u16, base: u64, at: u32) {
    if family == AF_INET {
        read_into(socket::first_four(target), base, at);
    } else {
        (target[10], target[11]) = (0xff, 0xff);
        // SAFETY: the last four of sixteen bytes.
        read_into(unsafe { &mut *(&raw mut target[12]).cast::<[u8; 4]>() }, base, at);
    }
}

/// The flow of a datagram socket that a packet belongs to, sent or received.
#[inline(always)]
pub fn of_packet(socket: u64, tuple: &Tuple, interface: u32) -> Option<&'static Flow> {
    let socket = Socket::of(socket);
    if !socket.has_ports() {
        return None;
    }
    let mut key = key(&socket, 0)?;
    for received in [false, true] {
        let (address, port) = if received {
            (&tuple.source, tuple.source_port)
        } else {
            (&tuple.destination, tuple.destination_port)
        };
        if tuple.family == key.family {
            key.remote = *address;
        } else {
            key.remote =
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, address[0], address[1], address[2], address[3]];
        }
        key.port = port;
        key.scope = if socket::is_link_local(&key.remote) { interface } else { 0 };
        // SAFETY: an entry lives until the server has read it; its owner does not change.
        if let Some(flow) = unsafe { FLOWS.get(&key) } {
            return Some(flow);
        }
    }
    None
}

/// Whether a receiver has only looked at a packet (`MSG_PEEK`): its socket's queue holds it, too.
#[inline(always)]
pub fn was_peeked_at(skb: u64) -> bool {
    read_or_zero::<u32>(skb, offset!(skb_users)) > 1
}

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Sent,
    Received,
}

/// Counts a packet of `bytes`, of a flow that is this `netspy_common::subject`. If it is the first of its flow, that is reported; `local` writes the socket's end.
#[inline(always)]
pub fn count(
    subject: u32,
    socket: &Socket,
    key: &FlowKey,
    way: Way,
    bytes: u64,
    local: impl FnOnce(&mut Tuple),
) {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let known = FLOWS.get_ptr_mut(key).or_else(|| begin(subject, socket, key, way, now, local));
    let Some(flow) = known else { return };
    // SAFETY: counters of one flow are added to by several processors at once; the rest is written by the latest.
    unsafe {
        (*flow).last_ns = now;
        if way == Way::Sent {
            add(&raw mut (*flow).packets_sent, 1);
            add(&raw mut (*flow).bytes_sent, bytes);
        } else {
            if (*flow).answered_ns == 0 {
                (*flow).answered_ns = now;
            }
            add(&raw mut (*flow).packets_received, 1);
            add(&raw mut (*flow).bytes_received, bytes);
        }
    }
}

/// Follows a new flow of the current process.
#[inline(always)]
fn begin(
    subject: u32,
    socket: &Socket,
    key: &FlowKey,
    way: Way,
    now: u64,
    local: impl FnOnce(&mut Tuple),
) -> Option<*mut Flow> {
    match FLOWS.insert(key, NEW_FLOW.get(0)?, BPF_NOEXIST) {
        Ok(()) => {}
        Err(EEXIST) => return FLOWS.get_ptr_mut(key), // another processor was faster
        Err(_) => {
            emit::lost(loss::FLOWS_FULL, subject);
            return None;
        }
    }
    let flow = FLOWS.get_ptr_mut(key)?;
    // SAFETY: the entry lives as long as its socket, and only who made it writes these.
    unsafe {
        (*flow).started_ns = now;
        task::write_current(&mut (*flow).owner);
    }
    let role = if way == Way::Sent { role::OUTBOUND } else { role::INBOUND };
    let delivered = report(subject, socket, key, now, role, 0, |record| {
        record.traffic = 1;
        local(&mut record.tuple);
    });
    if !delivered {
        let _ = FLOWS.remove(key); // lost once, and not again with each reading
        return None;
    }
    Some(flow)
}

/// Reports the beginning of a flow of the current process; `fill` says the rest. Whether it was delivered.
#[inline(always)]
pub fn report(
    subject: u32,
    socket: &Socket,
    key: &FlowKey,
    started_ns: u64,
    role: u32,
    errno: u32,
    fill: impl FnOnce(&mut FlowRecord),
) -> bool {
    emit::submit(
        &EVENTS,
        subject,
        #[inline(always)]
        |record: &mut FlowRecord| {
            record.header = emit::header::<FlowRecord>(kind::FLOW, started_ns);
            copy(&mut record.flow, key);
            task::write_current(&mut record.task);
            record.tuple.destination = key.remote;
            record.tuple.destination_port = key.port;
            record.tuple.family = key.family;
            record.tuple.protocol = socket.protocol;
            record.errno = errno;
            record.netns = socket.netns();
            record.role = role;
            record.socket_type = socket.kind;
            record.watched = 1;
            fill(record);
        },
    )
}

/// By words: a socket whose type the verifier knows may not be taken apart into bytes, as a call of `memmove` does.
#[inline(always)]
fn copy(target: &mut FlowKey, source: &FlowKey) {
    let (target, source) = ((&raw mut *target).cast::<u64>(), (&raw const *source).cast::<u64>());
    for at in 0..size_of::<FlowKey>() / 8 {
        // SAFETY: inside both, which are aligned to eight bytes. Volatile, or the compiler makes a call of it.
        unsafe { target.add(at).write_volatile(source.add(at).read_volatile()) };
    }
}

#[inline(always)]
unsafe fn add(counter: *mut u64, count: u64) {
    // SAFETY: the caller's.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, count) };
}
