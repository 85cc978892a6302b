//! What becomes of an attempt: the state changes of its socket.
//!
//! They run in softirq as often as in the caller's context: the owner is the one who was remembered under
//! the socket, never `current`; only the step to SYN_SENT is always the caller's.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns},
    programs::RawTracePointContext,
};
use aya_log_ebpf::debug;
use netspy_common::{ConnectionKey, OutcomeRecord, kind, loss};

use crate::{
    connect, emit,
    kernel::{offset, read_or_zero, without_kprobes},
    maps::{EVENTS, INFLIGHT, Inflight, SOCKETS, phase},
    socket::{self, IPPROTO_TCP},
};

/// TCP states (include/net/tcp_states.h).
const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const SYN_RECV: i32 = 3;
const CLOSE: i32 = 7;

/// A socket went from one state to another.
#[inline(always)]
pub fn changed(ctx: &RawTracePointContext) {
    let (from, to): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    if to == SYN_SENT && from == CLOSE {
        if without_kprobes() {
            attempted(ctx, ctx.arg(0));
        }
    } else if to == ESTABLISHED && (from == SYN_SENT || from == SYN_RECV) {
        // From SYN_RECV: a simultaneous open, if it is a socket that somebody connected.
        established(ctx, ctx.arg(0));
    } else if to == CLOSE {
        closed(ctx, ctx.arg(0));
    }
}

/// The caller's own context: on the rung without kprobes this is where an attempt is reported.
#[inline(always)]
fn attempted(ctx: &RawTracePointContext, socket: u64) {
    if socket::protocol(socket) != IPPROTO_TCP {
        return;
    }
    let started_ns = call_on(socket).map(|call| {
        call.phase = phase::REPORTED;
        call.started_ns
    });
    // Without a call it is io_uring, TCP Fast Open, or a connect inside the kernel: it begins here.
    // SAFETY: a helper without arguments.
    let started_ns = started_ns.unwrap_or_else(|| unsafe { bpf_ktime_get_ns() });
    let call = Inflight { socket, started_ns, destination: [0; 16], port: 0, family: 0, phase: 0 };
    connect::report(ctx, &call, 0);
}

/// The peer answered.
#[inline(always)]
fn established(ctx: &RawTracePointContext, socket: u64) {
    let Some(followed) = SOCKETS.get_ptr_mut(socket) else { return };
    // SAFETY: state changes of one socket are serialised by its lock.
    let followed = unsafe { &mut *followed };
    if followed.settled == 0 {
        followed.settled = 1;
        settle(ctx, socket, followed.started_ns, 1, 0);
    }
}

/// The socket is over: a failure if nobody had answered, and the end of following it in any case.
#[inline(always)]
fn closed(ctx: &RawTracePointContext, socket: u64) {
    // SAFETY: as above; what is needed is copied before it is removed.
    let Some(followed) = (unsafe { SOCKETS.get(socket) }) else { return };
    let (started_ns, settled) = (followed.started_ns, followed.settled);
    let _ = SOCKETS.remove(socket);
    if settled != 0 {
        return;
    }
    let errno: u32 = read_or_zero(socket, offset!(sock_err));
    if errno == 0 && taken_back(socket) {
        return;
    }
    settle(ctx, socket, started_ns, 0, errno);
}

/// Whether the kernel undid the attempt inside the very call that made it (no port was free, …): then the
/// return value of the call says why.
#[inline(always)]
fn taken_back(socket: u64) -> bool {
    if !without_kprobes() {
        return false;
    }
    let Some(call) = call_on(socket) else { return false };
    call.phase = phase::TAKEN_BACK;
    true
}

/// The connect call on `socket` that the current thread is inside of.
#[inline(always)]
fn call_on(socket: u64) -> Option<&'static mut Inflight> {
    let call = INFLIGHT.get_ptr_mut(bpf_get_current_pid_tgid())?;
    // SAFETY: the entry is this thread's own, and the thread is here.
    let call = unsafe { &mut *call };
    (call.socket == socket).then_some(call)
}

#[inline(always)]
fn settle(ctx: &RawTracePointContext, socket: u64, started_ns: u64, established: u32, errno: u32) {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    emit::submit(&EVENTS, loss::EVENTS_RING_FULL, |record: &mut OutcomeRecord| {
        record.header = emit::header::<OutcomeRecord>(kind::OUTCOME, now);
        record.key = ConnectionKey { socket, started_ns };
        record.established = established;
        record.errno = errno;
        socket::tuple(socket, &mut record.tuple);
        if record.tuple.source_port == 0 {
            // A socket gives its port back before it says that it is closed.
            record.tuple.source_port = u16::from_be(read_or_zero(socket, offset!(sock_sport)));
        }
    });
    debug!(ctx, "outcome of the connect at {}: established {} errno {}", started_ns, established, errno);
}
