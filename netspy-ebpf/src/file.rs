//! From a file descriptor of the current thread to its socket, for hooks that see only the syscall.

use crate::{
    kernel::{Start, Struct, is_task_typed, offset, read_or_zero},
    task,
};

/// `SS_UNCONNECTED` (include/uapi/linux/net.h): connect has not been called on it, or not successfully.
const SS_UNCONNECTED: u32 = 1;

/// The `struct socket` of a file.
pub struct File(Start<4>);

impl File {
    /// The one behind `fd`; `None` where that is no socket.
    #[inline(always)]
    pub fn of(fd: u64) -> Option<Self> {
        let (count, slots) = if is_task_typed() { table(&task::typed()) } else { table(&task::probed()) };
        if fd >= u64::from(count) {
            return None;
        }
        let file: u64 = read_or_zero(slots.wrapping_add(fd * 8), 0);
        let socket = Start::of(read_or_zero(file, offset!(file_private_data)));
        // Only a socket's private data points back to its file.
        (file != 0 && socket.get::<u64>(offset!(socket_file)) == file).then_some(Self(socket))
    }

    /// Its `struct sock`.
    #[inline(always)]
    pub fn socket(&self) -> u64 {
        self.0.get(offset!(socket_sk))
    }

    /// `SOCK_*`
    #[inline(always)]
    pub fn kind(&self) -> u32 {
        u32::from(self.0.get::<u16>(offset!(socket_type)))
    }

    /// Its inode number.
    #[inline(always)]
    pub fn inode(&self) -> u64 {
        self.0.get(offset!(socket_inode))
    }

    /// Whether no connect is under way on it.
    #[inline(always)]
    pub fn is_unconnected(&self) -> bool {
        // `enum socket_state`, four bytes wide or packed into fewer: the low byte tells.
        u32::from(self.0.get::<u8>(offset!(socket_state))) == SS_UNCONNECTED
    }
}

/// A thread's table of open files: how many slots it has, and where.
#[inline(always)]
fn table<S: Struct>(thread: &S) -> (u32, u64) {
    let files = thread.at(offset!(task_files));
    let table = files.at(offset!(files_fdt));
    (table.get(offset!(fdtable_max_fds)), table.get(offset!(fdtable_fd)))
}
