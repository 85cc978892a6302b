//! Who takes an inbound connection from its listener's queue.
//!
//! `security_sock_graft` runs in the accepting thread, once the connection is out of the queue and before
//! accept returns. It does not sleep, so no return is missed, as happens with a kretprobe on accept itself.

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns,
    macros::{fentry, kprobe, tracepoint},
    programs::{FEntryContext, ProbeContext, TracePointContext},
};
use netspy_common::{AcceptRecord, ConnectionKey, kind, role, subject};

use crate::{
    emit,
    file::File,
    kernel::from_record,
    maps::{EVENTS, SOCKETS},
    socket::{self, IPPROTO_TCP, Socket},
    state, task,
};

/// `void security_sock_graft(struct sock *sk, struct socket *parent)` (security/security.c)
#[kprobe]
pub fn accept_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(socket) = ctx.arg(0) {
        accepted(socket);
    }
    0
}

/// The same on a kernel without kprobes.
#[fentry]
pub fn accept_fentry(ctx: FEntryContext) -> i32 {
    accepted(ctx.arg(0));
    0
}

/// `syscalls:sys_exit_accept` and `sys_exit_accept4`, where functions cannot be hooked: what io_uring accepts
/// is not seen here.
#[tracepoint]
pub fn accept_exit(ctx: TracePointContext) -> u32 {
    // SAFETY: a constant offset inside the tracepoint's record (events/syscalls/sys_exit_accept4/format).
    let returned = unsafe { from_record(&ctx, 16) };
    if (returned as i64) >= 0
        && let Some(file) = File::of(returned)
    {
        accepted(file.socket());
    }
    0
}

#[inline(always)]
fn accepted(graft: u64) {
    let socket = socket::of_tcp(graft);
    let followed = match SOCKETS.get_ptr_mut(socket) {
        Some(followed) => followed,
        None => {
            // TCP Fast Open: accepted before its handshake is complete. Otherwise a socket of another family,
            // or a connection that was counted as lost.
            if socket::protocol(socket) != IPPROTO_TCP || socket::state(socket) != state::SYN_RECV as u8 {
                return;
            }
            state::arrived(&Socket::of(socket), 0, 0);
            let Some(followed) = SOCKETS.get_ptr_mut(socket) else { return };
            followed
        }
    };
    // SAFETY: the entry lives as long as its socket; nobody else owns the connection before it is accepted.
    let followed = unsafe { &mut *followed };
    if followed.role != role::INBOUND || followed.owner.tgid != 0 || !socket::is_still(followed, socket) {
        return; // an earlier connection of a socket at this address, whose end was skipped
    }
    task::write_current(&mut followed.owner);
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    emit::submit(&EVENTS, subject::ACCEPT, |record: &mut AcceptRecord| {
        record.header = emit::header::<AcceptRecord>(kind::ACCEPT, now);
        record.key = ConnectionKey { socket, started_ns: followed.started_ns };
        record.task = followed.owner;
    });
}
