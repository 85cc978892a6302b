//! The rung with kprobes: `tcp_v4_connect` and `tcp_v6_connect`, entered and left.
//!
//! Both return at once, blocking socket or not, and run with the socket locked: an answer from the peer
//! waits until they have returned, so an outcome never comes before its attempt. Their returns can be missed all
//! the same: a kernel without preemption has one kretprobe instance per CPU, and threads do get descheduled
//! inside. So the socket is followed from its step to SYN_SENT on (`state`); the return adds the source port,
//! and says why nothing was sent.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns},
    programs::{ProbeContext, RetProbeContext},
};
use aya_log_ebpf::debug;
use netspy_common::{ConnectRecord, ConnectionKey, MISSING, kind, loss, role, subject};

use crate::{
    emit,
    file::File,
    kernel::{Struct, offset, read_into},
    maps::{BPF_NOEXIST, EEXIST, EVENTS, Followed, INFLIGHT, Inflight, SOCKETS, UNFOLLOWED, phase},
    socket::{self, AF_INET, AF_INET6, IPPROTO_TCP, Socket},
    task,
};

/// Notes that the current thread is inside connect.
#[inline(always)]
pub fn enter(ctx: &ProbeContext, family: u16) {
    let (Some(socket), Some(address)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else { return };
    if family == AF_INET && socket::family(socket) == AF_INET6 {
        return; // a v4-mapped address passes through tcp_v6_connect and then tcp_v4_connect: one attempt
    }
    let thread = bpf_get_current_pid_tgid();
    let read = |target: &mut [u8; 16], at| read_into(target, address + at, 0);
    let (mut destination, port) = parse_sockaddr(family, read);
    socket::write_scope(&mut destination, scope(family, read));
    // SAFETY: a helper without arguments.
    let started_ns = unsafe { bpf_ktime_get_ns() };
    let call = Inflight { socket, started_ns, destination, port, family, phase: phase::CALLED };
    match INFLIGHT.insert(thread, call, BPF_NOEXIST) {
        Ok(()) => {}
        Err(EEXIST) => {
            if let Some(earlier) = INFLIGHT.get_ptr_mut(thread) {
                // SAFETY: the entry is this thread's own; nobody else writes it.
                let earlier = unsafe { &mut *earlier };
                if phase::only_its_return_tells(earlier.phase) {
                    emit::lost(loss::RETURN_MISSED, subject::CONNECTION);
                }
                *earlier = call;
            }
        }
        Err(_) => {
            emit::lost(loss::INFLIGHT_FULL, subject::CONNECTION);
            let _ = UNFOLLOWED.insert(thread, socket, 0);
        }
    }
}

/// Reports the attempt that the current thread has just made: its socket has a source port now.
#[inline(always)]
pub fn leave(ctx: &RetProbeContext, family: u16) {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: as in `enter`; copied before it is removed.
    let Some(call) = (unsafe { INFLIGHT.get(thread) }).copied() else {
        let _ = UNFOLLOWED.remove(thread);
        return;
    };
    if call.family != family {
        return; // the inner half of a v4-mapped attempt
    }
    let _ = INFLIGHT.remove(thread);
    let returned: i32 = ctx.ret();
    if call.phase == phase::LOST || call.phase != phase::FOLLOWED && !is_still_inside(&call) {
        return;
    }
    if returned < 0 {
        refused(&call, returned.unsigned_abs());
    } else if (call.phase != phase::CALLED
        || follow(call.socket, 0, socket::ports(call.socket), call.started_ns))
        && let Some(followed) = SOCKETS.get_ptr_mut(call.socket)
    {
        // The kernel may skip the program that follows the socket, and then the one that ended an earlier one at the
        // same address: the return knows better than both.
        // SAFETY: the entry lives as long as its socket, which this thread is using.
        announce(&Socket::of(call.socket), unsafe { &mut *followed });
    }
    // Always last: what follows a line of log is verified once for each way that writing it can end.
    debug!(ctx, "connect tgid {} errno {}", (thread >> 32) as u32, returned.wrapping_neg());
}

/// Whether the current thread may still be inside this call. Where the kernel skipped the programs at the return of one
/// connect and at the call of the next, what is noted is the earlier one's, and its socket may be anybody's by now.
#[inline(always)]
pub fn is_still_inside(call: &Inflight) -> bool {
    if offset!(registers_first) == MISSING {
        return true; // before 5.15: there programs cannot be preempted, and are hardly skipped
    }
    let fd = task::registers().get::<u64>(offset!(registers_first)) & 0xffff_ffff;
    // No socket: the system call is another one (io_uring).
    let is_inside =
        File::of(fd).is_none_or(|file| socket::of_tcp(file.socket()) == socket::of_tcp(call.socket));
    if !is_inside && phase::only_its_return_tells(call.phase) {
        emit::lost(loss::RETURN_MISSED, subject::CONNECTION);
    }
    is_inside
}

/// Follows the socket of an attempt by the current thread; `false` where that is impossible, and counted. `cookie`: or 0.
/// `ports`: as its socket has them now.
#[inline(always)]
pub fn follow(socket: u64, cookie: u64, ports: u32, started_ns: u64) -> bool {
    // SAFETY: integers and arrays of integers.
    let mut followed: Followed = unsafe { core::mem::zeroed() };
    (followed.socket, followed.started_ns, followed.role) = (socket, started_ns, role::OUTBOUND);
    (followed.cookie, followed.ports) = (cookie, ports);
    task::write_current(&mut followed.owner);
    let inserted = SOCKETS.insert(socket, followed, 0).is_ok();
    if !inserted {
        emit::lost(loss::SOCKETS_FULL, subject::CONNECTION);
    }
    inserted
}

/// Reports the beginning of a followed attempt, once; `false` where that was lost, and with it all of it.
#[inline(always)]
pub fn announce<S: Struct>(socket: &Socket<S>, followed: &mut Followed) -> bool {
    if followed.reported != 0 {
        return true;
    }
    followed.reported = 1;
    let delivered = emit::submit(&EVENTS, subject::CONNECTION, |record: &mut ConnectRecord| {
        record.header = emit::header::<ConnectRecord>(kind::CONNECT, followed.started_ns);
        record.key = ConnectionKey { socket: socket.address, started_ns: followed.started_ns };
        record.task = followed.owner;
        record.role = role::OUTBOUND;
        of_socket(socket, record);
    });
    if !delivered {
        // Lost once: its outcome must not come alone and be counted again.
        let _ = SOCKETS.remove(socket.address);
    }
    delivered
}

/// What a connection's or a listener's socket says about itself when it begins.
#[inline(always)]
pub fn of_socket<S: Struct>(socket: &Socket<S>, record: &mut ConnectRecord) {
    record.netns = socket.netns();
    record.socket_type = socket.kind;
    socket.write(&mut record.tuple);
    socket.write_scopes(&mut record.tuple);
}

/// Reports an attempt of the current thread that the kernel refused at once.
#[inline(always)]
pub fn refused(call: &Inflight, errno: u32) {
    emit::submit(&EVENTS, subject::CONNECTION, |record: &mut ConnectRecord| {
        record.header = emit::header::<ConnectRecord>(kind::CONNECT, call.started_ns);
        record.key = ConnectionKey { socket: call.socket, started_ns: call.started_ns };
        task::write_current(&mut record.task);
        record.errno = errno;
        record.netns = socket::netns(call.socket);
        record.role = role::OUTBOUND;
        record.socket_type = socket::kind_and_protocol(call.socket).0;
        // All there is of an attempt that never got a route or a port: what the caller named.
        record.tuple.destination = call.destination;
        record.tuple.destination_port = call.port;
        record.tuple.family = call.family;
        record.tuple.protocol = IPPROTO_TCP;
    });
}

/// `sin6_scope_id` of a `struct sockaddr` of `family`, read by `read(target, offset)`; 0 where it has none.
#[inline(always)]
pub fn scope(family: u16, read: impl Fn(&mut [u8; 16], u64)) -> u32 {
    if family != AF_INET6 {
        return 0;
    }
    // The last of these sixteen bytes is the last of a `sockaddr_in6`.
    let mut end = [0; 16];
    read(&mut end, 12);
    u32::from_ne_bytes([end[12], end[13], end[14], end[15]])
}

/// Address and port of a `struct sockaddr` of `family`, read by `read(target, offset)`.
/// `sockaddr_in`: port at 2, address at 4. `sockaddr_in6`: port at 2, address at 8 (uapi/linux/in{,6}.h).
#[inline(always)]
pub fn parse_sockaddr(family: u16, read: impl Fn(&mut [u8; 16], u64)) -> ([u8; 16], u16) {
    let mut address = [0; 16];
    read(&mut address, 0);
    let port = u16::from_be_bytes([address[2], address[3]]);
    if family == AF_INET {
        let v4 = [address[4], address[5], address[6], address[7]];
        address = [0; 16];
        *socket::first_four(&mut address) = v4;
    } else {
        read(&mut address, 8);
    }
    (address, port)
}
