//! From a file descriptor of the current thread to its socket, for hooks that see only the syscall.

use aya_ebpf::helpers::generated::bpf_get_current_task;

use crate::kernel::{offset, read_or_zero};

/// `SS_UNCONNECTED` (include/uapi/linux/net.h): connect has not been called on it, or not successfully.
const SS_UNCONNECTED: u32 = 1;

/// `struct sock` behind `fd` if it is a socket on which no connect is under way; 0 otherwise.
#[inline(always)]
pub fn unconnected_socket(fd: u64) -> u64 {
    let socket = socket_file(fd);
    // `enum socket_state`, four bytes wide or packed into fewer: the low byte tells.
    let state: u8 = read_or_zero(socket, offset!(socket_state));
    if u32::from(state) != SS_UNCONNECTED {
        return 0;
    }
    read_or_zero(socket, offset!(socket_sk))
}

/// `struct sock` behind `fd`, or 0.
#[inline(always)]
pub fn socket(fd: u64) -> u64 {
    read_or_zero(socket_file(fd), offset!(socket_sk))
}

/// `struct socket` behind `fd`, or 0.
#[inline(always)]
fn socket_file(fd: u64) -> u64 {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let files: u64 = read_or_zero(task, offset!(task_files));
    let table: u64 = read_or_zero(files, offset!(files_fdt));
    let size: u32 = read_or_zero(table, offset!(fdtable_max_fds));
    if fd >= u64::from(size) {
        return 0;
    }
    let slots: u64 = read_or_zero(table, offset!(fdtable_fd));
    if slots == 0 {
        return 0;
    }
    let file: u64 = read_or_zero(slots + fd * 8, 0);
    let socket: u64 = read_or_zero(file, offset!(file_private_data));
    // Only a socket's private data points back to its file.
    if file == 0 || read_or_zero::<u64>(socket, offset!(socket_file)) != file { 0 } else { socket }
}
