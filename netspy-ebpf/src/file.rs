//! From a file descriptor of the current thread to its socket, for hooks that see only the syscall.

use aya_ebpf::helpers::generated::bpf_get_current_task;

use crate::kernel::{Start, offset, read_or_zero};

/// `SS_UNCONNECTED` (include/uapi/linux/net.h): connect has not been called on it, or not successfully.
const SS_UNCONNECTED: u32 = 1;

/// `struct sock` behind `fd` if it is a socket on which no connect is under way; 0 otherwise.
#[inline(always)]
pub fn unconnected_socket(fd: u64) -> u64 {
    let Some(socket) = socket_file(fd) else { return 0 };
    // `enum socket_state`, four bytes wide or packed into fewer: the low byte tells.
    let state: u8 = socket.get(offset!(socket_state));
    if u32::from(state) == SS_UNCONNECTED { socket.get(offset!(socket_sk)) } else { 0 }
}

/// `struct sock` behind `fd`, or 0.
#[inline(always)]
pub fn socket(fd: u64) -> u64 {
    socket_file(fd).map_or(0, |socket| socket.get(offset!(socket_sk)))
}

/// The beginning of the `struct socket` behind `fd`.
#[inline(always)]
fn socket_file(fd: u64) -> Option<Start<4>> {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let files: u64 = read_or_zero(task, offset!(task_files));
    let table = Start::<2>::of(read_or_zero(files, offset!(files_fdt)));
    if fd >= u64::from(table.get::<u32>(offset!(fdtable_max_fds))) {
        return None;
    }
    let slots: u64 = table.get(offset!(fdtable_fd));
    let file: u64 = read_or_zero(slots.wrapping_add(fd * 8), 0);
    let socket = Start::of(read_or_zero(file, offset!(file_private_data)));
    // Only a socket's private data points back to its file.
    (file != 0 && socket.get::<u64>(offset!(socket_file)) == file).then_some(socket)
}
