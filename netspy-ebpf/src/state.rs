//! The life of a TCP connection as the state changes of its socket tell it.
//!
//! They run in softirq as often as in the caller's context: the owner is the one who was remembered under
//! the socket, never `current`; only the step to SYN_SENT is always the caller's.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns},
    programs::BtfTracePointContext,
};
use aya_log_ebpf::debug;
use netspy_common::{
    CloseRecord, ConnectRecord, ConnectionKey, OutcomeRecord, closer, kind, loss, role, subject,
};

use crate::{
    connect, emit,
    kernel::{Struct, Typed, offset, without_kprobes},
    maps::{EVENTS, Followed, INFLIGHT, Inflight, SOCKETS, UNFOLLOWED, phase},
    owner,
    socket::{self, Socket, remote_port},
    task,
};

/// TCP states (include/net/tcp_states.h).
const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
pub const SYN_RECV: i32 = 3;
const FIN_WAIT1: i32 = 4;
const CLOSE: i32 = 7;
const CLOSE_WAIT: i32 = 8;
const LISTEN: i32 = 10;

/// Bit of `sk->sk_flags` that says that the peer's FIN was received (`SOCK_DONE`, include/net/sock.h).
const SOCK_DONE: u64 = 1 << 1;

/// A socket as the tracepoint gives it.
type TcpSocket = Socket<Typed>;

/// A socket went from one state to another.
#[inline(always)]
pub fn changed(ctx: &BtfTracePointContext) {
    let (from, to): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    let Some(socket) = Socket::of_tcp(ctx.arg::<*const c_void>(0) as u64) else {
        return; // among others MPTCP's own socket above its TCP ones
    };
    if to == SYN_SENT && from == CLOSE {
        attempted(ctx, &socket);
    } else if to == ESTABLISHED && (from == SYN_SENT || from == SYN_RECV) {
        established(ctx, &socket, from);
    } else if from == ESTABLISHED && to == FIN_WAIT1 {
        first_to_close(&socket, closer::LOCAL);
    } else if from == ESTABLISHED && to == CLOSE_WAIT {
        first_to_close(&socket, closer::REMOTE);
    } else if to == LISTEN {
        listens(ctx, &socket);
    } else if to == CLOSE {
        closed(ctx, &socket, from);
    }
}

/// An attempt: the caller's own context.
#[inline(always)]
fn attempted(ctx: &BtfTracePointContext, socket: &TcpSocket) {
    let address = socket.address;
    let call = call_on(address);
    if call.is_none() && was_counted_as_lost(address) {
        return;
    }
    let known = call.is_some();
    // One that is not known is io_uring, TCP Fast Open, or a connect inside the kernel, or its call was not seen: it
    // begins here.
    // SAFETY: a helper without arguments.
    let started_ns = call.as_ref().map_or_else(|| unsafe { bpf_ktime_get_ns() }, |call| call.started_ns);
    // The port of its own may still be an earlier attempt's.
    let ports = u32::from(remote_port(socket.ports()));
    let is_followed = connect::follow(address, socket.cookie(), ports, started_ns);
    if let Some(call) = call {
        call.phase = if is_followed { phase::FOLLOWED } else { phase::LOST };
    }
    // With kprobes the call's return reports it, when it has a source port.
    let reported_later = known && !without_kprobes();
    if is_followed
        && !reported_later
        && let Some(followed) = SOCKETS.get_ptr_mut(address)
    {
        // SAFETY: the entry lives as long as its socket.
        connect::announce(socket, unsafe { &mut *followed });
    }
    debug!(ctx, "connect tgid {} errno 0", (bpf_get_current_pid_tgid() >> 32) as u32);
}

/// The handshake is complete.
#[inline(always)]
fn established(ctx: &BtfTracePointContext, socket: &TcpSocket, from: i32) {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    if let Some(followed) = SOCKETS.get_ptr_mut(socket.address) {
        // SAFETY: state changes of one socket are serialised by its lock.
        let followed = unsafe { &mut *followed };
        // From SYN_RECV: a simultaneous open.
        if followed.established_ns == 0 && is_same(socket, followed) {
            followed.established_ns = now;
            followed.ports = socket.ports();
            if followed.role != role::OUTBOUND || connect::announce(socket, followed) {
                settle(ctx, socket, followed.started_ns, now, 1, 0);
            }
            return;
        }
        // An earlier connection of a socket at this address: the kernel skipped the program at its end.
        let _ = SOCKETS.remove(socket.address);
    }
    // SYN_SENT: an attempt that was counted as lost or skipped, or older than the programs.
    if from == SYN_RECV {
        arrived(socket, socket.cookie(), now);
        debug!(ctx, "inbound connection at {}", now);
    }
}

/// A peer connected to a listener here; nobody owns the connection before it is accepted. `established_ns` is 0
/// while its handshake goes on (TCP Fast Open).
#[inline(always)]
pub fn arrived<S: Struct>(socket: &Socket<S>, cookie: u64, established_ns: u64) {
    begun(socket, cookie, established_ns, role::INBOUND);
}

/// A process listens: this runs in its context.
#[inline(always)]
fn listens(ctx: &BtfTracePointContext, socket: &TcpSocket) {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    begun(socket, socket.cookie(), now, role::LISTENER);
    debug!(ctx, "listener at {}", now);
}

/// Follows a socket from here on, unless that cannot be told. Who listens is the current thread.
#[inline(always)]
fn begun<S: Struct>(socket: &Socket<S>, cookie: u64, established_ns: u64, role: u32) {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: integers and arrays of integers; nobody owns it yet.
    let mut followed: Followed = unsafe { core::mem::zeroed() };
    (followed.socket, followed.cookie, followed.role) = (socket.address, cookie, role);
    (followed.started_ns, followed.established_ns) = (now, established_ns);
    followed.ports = socket.ports();
    if role == role::LISTENER {
        task::write_current(&mut followed.owner);
    }
    if SOCKETS.insert(socket.address, followed, 0).is_err() {
        emit::lost(loss::SOCKETS_FULL, subject::CONNECTION);
        return;
    }
    let delivered = emit::submit(&EVENTS, subject::CONNECTION, |record: &mut ConnectRecord| {
        record.header = emit::header::<ConnectRecord>(kind::CONNECT, now);
        record.key = ConnectionKey { socket: socket.address, started_ns: now };
        record.task = followed.owner;
        record.role = role;
        connect::of_socket(socket, record);
    });
    if !delivered {
        let _ = SOCKETS.remove(socket.address);
    }
}

/// One end sent or received the first FIN.
#[inline(always)]
fn first_to_close(socket: &TcpSocket, closer: u32) {
    if let Some(followed) = SOCKETS.get_ptr_mut(socket.address) {
        // SAFETY: state changes of one socket are serialised by its lock.
        unsafe { (*followed).closer = closer };
    }
}

/// The socket is over: a failure if nobody had answered, the end of the connection otherwise.
#[inline(always)]
fn closed(ctx: &BtfTracePointContext, socket: &TcpSocket, from: i32) {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let is_handshake = matches!(from, SYN_SENT | SYN_RECV);
    let (mut started_ns, mut established_ns, mut closer) = (0, 0, closer::NOBODY);
    if let Some(followed) = SOCKETS.get_ptr_mut(socket.address) {
        // SAFETY: state changes of one socket are serialised by its lock.
        let followed = unsafe { &mut *followed };
        let same = is_same(socket, followed);
        if same && followed.established_ns == 0 && is_handshake {
            return failed(ctx, socket, followed, now);
        }
        if same {
            followed.ports = socket.ports();
            (started_ns, established_ns, closer) =
                (followed.started_ns, followed.established_ns, followed.closer);
            owner::remember_closed(followed);
        }
        let _ = SOCKETS.remove(socket.address);
    }
    if is_handshake && started_ns == 0 {
        return; // it was counted as lost, or nothing had come of it
    }
    // One that was not followed is older than the programs: the server may know it by its tuple.
    emit::submit(&EVENTS, subject::CONNECTION, |record: &mut CloseRecord| {
        record.header = emit::header::<CloseRecord>(kind::CLOSE, now);
        record.key = ConnectionKey { socket: socket.address, started_ns };
        socket.write_at_close(&mut record.tuple);
        socket.write_scopes(&mut record.tuple);
        record.established_ns = established_ns;
        let sent: u64 = socket.get(offset!(tcp_bytes_sent));
        record.bytes_sent = sent.wrapping_sub(socket.get(offset!(tcp_bytes_retrans)));
        let flags: u64 = socket.get(offset!(sock_flags));
        let received: u64 = socket.get(offset!(tcp_bytes_received));
        // The kernel counts the peer's FIN as a byte.
        record.bytes_received = if flags & SOCK_DONE != 0 { received.saturating_sub(1) } else { received };
        record.srtt_us = socket.get::<u32>(offset!(tcp_srtt)) >> 3;
        record.retransmits = socket.get(offset!(tcp_total_retrans));
        record.closer = closer;
        record.errno = socket.get(offset!(sock_err));
        record.netns = socket.netns();
    });
    debug!(ctx, "close of the connection of {} closer {}", started_ns, closer);
}

/// Whether what is followed under the socket's address is this connection of this very socket: the kernel may have skipped
/// the programs at the end of an earlier one there and at the beginning of this one.
#[inline(always)]
fn is_same(socket: &TcpSocket, followed: &Followed) -> bool {
    let ports = socket.ports();
    // All of an attempt that is known before it has a port of its own.
    let is_remote_only = followed.ports == u32::from(remote_port(followed.ports));
    let same_ports = if followed.role == role::LISTENER {
        remote_port(ports) == 0
    } else {
        followed.ports == if is_remote_only { u32::from(remote_port(ports)) } else { ports }
    };
    same_ports && (followed.cookie == 0 || followed.cookie == socket.get(offset!(sock_cookie)))
}

/// An attempt came to nothing.
#[inline(always)]
fn failed(ctx: &BtfTracePointContext, socket: &TcpSocket, followed: &mut Followed, now: u64) {
    let errno: u32 = socket.get(offset!(sock_err));
    // The return value of the call then tells what happened.
    let told_by_return = errno == 0 && taken_back(socket.address);
    if !told_by_return && (followed.role != role::OUTBOUND || connect::announce(socket, followed)) {
        settle(ctx, socket, followed.started_ns, now, 0, errno);
    }
    let _ = SOCKETS.remove(socket.address);
}

/// Whether the kernel undid the attempt inside the very call that made it (no port was free, …).
#[inline(always)]
fn taken_back(socket: u64) -> bool {
    let Some(call) = call_on(socket) else { return false };
    call.phase = phase::TAKEN_BACK;
    true
}

/// Whether the current thread's attempt on `socket` did not fit into the map of calls.
#[inline(always)]
fn was_counted_as_lost(socket: u64) -> bool {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the entry is this thread's own; copied at once.
    let Some(unfollowed) = (unsafe { UNFOLLOWED.get(thread) }).copied() else { return false };
    // Whoever gets the same address later is another attempt.
    let _ = UNFOLLOWED.remove(thread);
    unfollowed == socket || socket::of_tcp(unfollowed) == socket
}

/// The connect call on `socket` that the current thread is inside of.
#[inline(always)]
fn call_on(socket: u64) -> Option<&'static mut Inflight> {
    let call = INFLIGHT.get_ptr_mut(bpf_get_current_pid_tgid())?;
    // SAFETY: the entry is this thread's own, and the thread is here.
    let call = unsafe { &mut *call };
    (call.socket == socket || socket::of_tcp(call.socket) == socket).then_some(call)
}

#[inline(always)]
fn settle(
    ctx: &BtfTracePointContext,
    socket: &TcpSocket,
    started_ns: u64,
    now: u64,
    established: u32,
    errno: u32,
) {
    emit::submit(&EVENTS, subject::CONNECTION, |record: &mut OutcomeRecord| {
        record.header = emit::header::<OutcomeRecord>(kind::OUTCOME, now);
        record.key = ConnectionKey { socket: socket.address, started_ns };
        record.established = established;
        record.errno = errno;
        socket.write_at_close(&mut record.tuple);
        socket.write_scopes(&mut record.tuple);
    });
    debug!(ctx, "outcome of the connect at {}: established {} errno {}", started_ns, established, errno);
}
