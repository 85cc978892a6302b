//! Connects of UNIX sockets: `unix_stream_connect` (stream and seqpacket) and `unix_dgram_connect`, entered and
//! left, and their end: `unix_release`. Where functions cannot be hooked, the connect system call, and no end.
//!
//! The first waits while its listener's backlog is full, so a kretprobe may run out of instances; a return that
//! was missed is counted when the thread connects again.

use aya_ebpf::{
    helpers::generated::{bpf_ktime_get_ns, bpf_probe_read_kernel, bpf_probe_read_user},
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use netspy_common::{UNIX_PATH_LEN, UnixCloseRecord, UnixRecord, closer, kind, loss, subject};

use crate::{
    call, emit,
    kernel::{offset, read_or_zero},
    maps::{Call, EVENTS, UNIX_SOCKETS},
    socket::{SOCK_DGRAM, Socket},
    task,
};

pub const AF_UNIX: u16 = 1;

/// `struct sockaddr_un` (uapi/linux/un.h).
#[repr(C)]
struct Address {
    family: u16,
    path: [u8; UNIX_PATH_LEN],
}

/// `int unix_stream_connect(struct socket *sock, struct sockaddr *uaddr, int addr_len, int flags)`, and
/// `unix_dgram_connect` alike (net/unix/af_unix.c)
#[kprobe]
pub fn unix_enter_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(socket), Some(address), Some(length)) = (ctx.arg(0), ctx.arg(1), ctx.arg(2)) {
        called(socket, address, length);
    }
    0
}

/// Their return.
#[kretprobe]
pub fn unix_return_kprobe(ctx: RetProbeContext) -> u32 {
    leave(ctx.ret());
    0
}

/// The same on a kernel without kprobes.
#[fentry]
pub fn unix_stream_enter_fentry(ctx: FEntryContext) -> i32 {
    called(ctx.arg(0), ctx.arg(1), ctx.arg(2));
    0
}

/// Its return, which follows the four arguments.
#[fexit]
pub fn unix_stream_return_fexit(ctx: FExitContext) -> i32 {
    leave(ctx.arg(4));
    0
}

/// `unix_dgram_connect` on a kernel without kprobes: a program is loaded for one function.
#[fentry]
pub fn unix_dgram_enter_fentry(ctx: FEntryContext) -> i32 {
    called(ctx.arg(0), ctx.arg(1), ctx.arg(2));
    0
}

/// Its return.
#[fexit]
pub fn unix_dgram_return_fexit(ctx: FExitContext) -> i32 {
    leave(ctx.arg(4));
    0
}

/// `int unix_release(struct socket *sock)` (net/unix/af_unix.c)
#[kprobe]
pub fn unix_release_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(socket) = ctx.arg(0) {
        released(socket);
    }
    0
}

/// The same on a kernel without kprobes.
#[fentry]
pub fn unix_release_fentry(ctx: FEntryContext) -> i32 {
    released(ctx.arg(0));
    0
}

/// Notes that the current thread is inside connect on a `struct socket`.
#[inline(always)]
fn called(socket: u64, argument: u64, length: i32) {
    let inode = read_or_zero(socket, offset!(socket_inode));
    let socket = read_or_zero(socket, offset!(socket_sk));
    call::enter(subject::UNIX, Call { socket, inode, argument, length: length as u64, ..Call::default() });
}

/// Where functions cannot be hooked: the system call, whose address is in the caller's memory. A function of its own,
/// because the caller's stack has no room for what it would keep there.
#[inline(never)]
pub fn returned_from_syscall(call: &Call, socket: &Socket, returned: i32) {
    report::<false>(call, socket, returned, copy_user);
}

#[inline(always)]
fn leave(returned: i32) {
    call::leave(
        |family| family == AF_UNIX,
        |call, socket| report::<true>(call, socket, returned, copy_kernel),
    );
}

/// A `struct socket` is closed: the end of its connection, if it is one that is followed.
#[inline(always)]
fn released(socket: u64) {
    let inode = read_or_zero(socket, offset!(socket_inode));
    ended(inode, &Socket::of(read_or_zero(socket, offset!(socket_sk))));
}

/// Reports the end of what such a socket was connected to, if that is followed.
#[inline(always)]
fn ended(inode: u64, socket: &Socket) {
    // SAFETY: copied at once.
    let Some(started_ns) = (unsafe { UNIX_SOCKETS.get(inode) }).copied() else { return };
    let _ = UNIX_SOCKETS.remove(inode);
    emit::submit(&EVENTS, subject::UNIX, |record: &mut UnixCloseRecord| {
        record.header = emit::header::<UnixCloseRecord>(kind::UNIX_CLOSE, now());
        (record.inode, record.started_ns) = (inode, started_ns);
        let is_over = socket.kind != SOCK_DGRAM && is_dead(socket.get(offset!(unix_peer)));
        record.closer = if is_over { closer::REMOTE } else { closer::LOCAL };
        record.errno = socket.get(offset!(sock_err));
    });
}

/// Whether a `struct sock` has been closed (`sock_flag(sk, SOCK_DEAD)`).
#[inline(always)]
fn is_dead(socket: u64) -> bool {
    read_or_zero::<u64>(socket, offset!(sock_flags)) & 1 != 0
}

/// Follows a socket from now on; one too many is counted.
#[inline(always)]
fn follow(call: &Call) -> bool {
    let is_followed = UNIX_SOCKETS.insert(call.inode, call.started_ns, 0).is_ok();
    if !is_followed {
        emit::lost(loss::SOCKETS_FULL, subject::UNIX);
    }
    is_followed
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// Reports what the call came to; `HAS_END`: whether the socket's end can be seen. `copy(target, length, source)` copies
/// from where the address is.
#[inline(always)]
fn report<const HAS_END: bool>(
    call: &Call,
    socket: &Socket,
    returned: i32,
    copy: impl Fn(*mut u8, u32, u64) -> bool,
) {
    if HAS_END && returned == 0 {
        ended(call.inode, socket); // a datagram socket may leave one peer for another
    }
    let mut family = [0; 2];
    copy(family.as_mut_ptr(), 2, call.argument);
    let is_unix = u16::from_ne_bytes(family) == AF_UNIX;
    if returned == 0 && !is_unix {
        return; // AF_UNSPEC takes a datagram socket's peer away
    }
    emit::submit(&EVENTS, subject::UNIX, |record: &mut UnixRecord| {
        record.header = emit::header::<UnixRecord>(kind::UNIX, now());
        (record.inode, record.started_ns) = (call.inode, call.started_ns);
        task::write_current(&mut record.task);
        record.errno = if returned < 0 { returned.unsigned_abs() } else { 0 };
        record.netns = socket.netns();
        record.socket_type = socket.kind as u16;
        // Only now: what is not delivered is lost once, and not again with its end.
        record.watched = u16::from(HAS_END && returned == 0 && follow(call));
        if returned == 0 {
            record.peer_pid = peer_pid(socket.address);
        }
        let path = core::mem::offset_of!(Address, path) as u64;
        if is_unix && call.length > path {
            let length = (call.length - path).min(UNIX_PATH_LEN as u64) as u32;
            if copy(record.path.as_mut_ptr(), length, call.argument + path) {
                record.path_len = length;
            }
        }
    });
}

/// The peer's pid as the kernel noted it when the peer began to listen.
#[inline(always)]
fn peer_pid(socket: u64) -> u32 {
    read_or_zero(read_or_zero(socket, offset!(sock_peer_pid)), offset!(pid_numbers))
}

#[inline(always)]
fn copy_kernel(target: *mut u8, length: u32, source: u64) -> bool {
    // SAFETY: the helper checks the source, the verifier the target.
    unsafe { bpf_probe_read_kernel(target.cast(), length, source as *const _) == 0 }
}

#[inline(always)]
fn copy_user(target: *mut u8, length: u32, source: u64) -> bool {
    // SAFETY: the helper checks the source, the verifier the target.
    unsafe { bpf_probe_read_user(target.cast(), length, source as *const _) == 0 }
}
