//! From the entry of a call to its return, where the return alone does not say what was called.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns};
use netspy_common::loss;

use crate::{
    emit,
    maps::{BPF_EXIST, BPF_NOEXIST, CALLS, Call, EEXIST},
    socket::Socket,
};

/// Notes that the current thread is inside this call, from now on; `subject` is what is lost if that is impossible.
#[inline(always)]
pub fn enter(subject: u32, mut call: Call) {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: a helper without arguments.
    call.started_ns = unsafe { bpf_ktime_get_ns() };
    match CALLS.insert(thread, call, BPF_NOEXIST) {
        Ok(()) => {}
        Err(EEXIST) => {
            emit::lost(loss::RETURN_MISSED, subject);
            let _ = CALLS.insert(thread, call, BPF_EXIST);
        }
        Err(_) => emit::lost(loss::INFLIGHT_FULL, subject),
    }
}

/// The call that the current thread leaves, and its socket, if that is of such a family: otherwise it is another
/// program's, or IPv6's function has called IPv4's and goes on.
#[inline(always)]
pub fn leave(is_expected: impl FnOnce(u16) -> bool) -> Option<(Call, Socket)> {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: as above; copied before it is removed.
    let call = *unsafe { CALLS.get(thread) }?;
    let socket = Socket::of(call.socket);
    if !is_expected(socket.family()) {
        return None;
    }
    let _ = CALLS.remove(thread);
    Some((call, socket))
}
