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

/// Does what is to be done with the call that the current thread leaves and its socket, if that is of such a family:
/// otherwise it is another program's, or IPv6's function has called IPv4's and goes on. Says whether it was done.
#[inline(always)]
pub fn leave(is_expected: impl FnOnce(u16) -> bool, report: impl FnOnce(&Call, &Socket)) -> bool {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: as above; it is removed when it has been used.
    let Some(call) = (unsafe { CALLS.get(thread) }) else { return false };
    let socket = Socket::of(call.socket);
    let is_expected = is_expected(socket.family());
    if is_expected {
        report(call, &socket);
        let _ = CALLS.remove(thread);
    }
    is_expected
}
