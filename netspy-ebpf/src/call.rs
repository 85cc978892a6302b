//! From the entry of a call to its return, where the return alone does not say what was called.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns};
use netspy_common::loss;

use crate::{
    emit,
    maps::{CALLS, Call},
    socket,
};

/// Notes that the current thread is inside a call on `socket`; `subject` is what is lost if that is impossible.
#[inline(always)]
pub fn enter(subject: u32, socket: u64, argument: u64, length: i32) {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the entry is this thread's own.
    if unsafe { CALLS.get(thread) }.is_some() {
        emit::lost(loss::RETURN_MISSED, subject);
    }
    // SAFETY: a helper without arguments.
    let started_ns = unsafe { bpf_ktime_get_ns() };
    let call = Call { socket, argument, length: u64::from(length.cast_unsigned()), started_ns };
    if CALLS.insert(thread, call, 0).is_err() {
        emit::lost(loss::INFLIGHT_FULL, subject);
    }
}

/// The call that the current thread leaves, if its socket is of this family: otherwise it is another program's, or
/// IPv6's function has called IPv4's and goes on.
#[inline(always)]
pub fn leave(family: u16) -> Option<Call> {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: as above; copied before it is removed.
    let call = *unsafe { CALLS.get(thread) }?;
    if socket::family(call.socket) != family {
        return None;
    }
    let _ = CALLS.remove(thread);
    Some(call)
}
