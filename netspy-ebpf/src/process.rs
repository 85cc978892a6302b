//! Who makes whom, what a process runs, and when it ends: told before anything that it does, so that a process
//! is known however briefly it lives.

use core::{ffi::c_void, hint::black_box};

use aya_ebpf::{
    helpers::generated::{
        bpf_get_current_task, bpf_ktime_get_ns, bpf_probe_read_kernel_str, bpf_probe_read_user,
    },
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use netspy_common::{ARGUMENTS_LEN, ExecRecord, ExitRecord, ForkRecord, NAME_LEN, PATH_LEN, kind, subject};

use crate::{
    emit,
    kernel::{offset, read_or_zero},
    maps::EVENTS,
    task,
};

/// Components of a path that are followed, mounts that are crossed included.
const DEPTH: u32 = 40;
/// Whatever begins before this offset has room for a whole component: a power of two.
const LAST_COMPONENT: usize = PATH_LEN - NAME_LEN;

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`: in the parent, before the child
/// runs.
#[raw_tracepoint]
pub fn process_fork(ctx: RawTracePointContext) -> i32 {
    let child: u64 = ctx.arg(1);
    let pid: u32 = read_or_zero(child, offset!(task_pid));
    if pid == read_or_zero(child, offset!(task_tgid)) {
        emit::submit_quietly(&EVENTS, subject::PROCESS, |record: &mut ForkRecord| {
            // SAFETY: a helper without arguments.
            record.header = emit::header::<ForkRecord>(kind::FORK, unsafe { bpf_ktime_get_ns() });
            task::write_current(&mut record.creator);
            record.child = task::process(child);
            record.parent = task::process(read_or_zero(child, offset!(task_parent)));
        });
    }
    0
}

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`: in the process, which
/// has its new memory.
#[raw_tracepoint]
pub fn process_exec(_ctx: RawTracePointContext) -> i32 {
    // SAFETY: a helper without arguments.
    let current = unsafe { bpf_get_current_task() };
    let mm: u64 = read_or_zero(current, offset!(task_mm));
    emit::submit_quietly(&EVENTS, subject::PROCESS, |record: &mut ExecRecord| {
        // SAFETY: a helper without arguments.
        record.header = emit::header::<ExecRecord>(kind::EXEC, unsafe { bpf_ktime_get_ns() });
        task::write_current(&mut record.task);
        record.parent = task::process(read_or_zero(current, offset!(task_parent)));
        record.path_length = path(read_or_zero(mm, offset!(mm_exe_file)), &mut record.path);
        arguments(mm, record);
    });
    0
}

/// `sched_process_exit(struct task_struct *p)`: in each thread that ends. The kernel has counted it out by then.
#[raw_tracepoint]
pub fn process_exit(_ctx: RawTracePointContext) -> i32 {
    // SAFETY: a helper without arguments.
    let current = unsafe { bpf_get_current_task() };
    let threads: u32 = read_or_zero(read_or_zero(current, offset!(task_signal)), offset!(signal_live));
    if threads == 0 {
        emit::submit_quietly(&EVENTS, subject::PROCESS, |record: &mut ExitRecord| {
            // SAFETY: a helper without arguments.
            record.header = emit::header::<ExitRecord>(kind::EXIT, unsafe { bpf_ktime_get_ns() });
            record.process = task::process(current);
        });
    }
    0
}

/// Writes the components of an open file's path, the last one first; the bytes used, 0 where they do not fit.
///
/// Verified once for each way through the loop that an older verifier can tell from the others: hence no checks but
/// those that end it, and `used` is given the same bounds each time.
#[inline(always)]
fn path(file: u64, into: &mut [u8; PATH_LEN]) -> u32 {
    let mut dentry = read_or_zero(file, offset!(file_dentry));
    let mut mount =
        read_or_zero::<u64>(file, offset!(file_mount)).wrapping_sub(u64::from(offset!(mount_vfs)));
    let mut used: usize = 0;
    for _ in 0..DEPTH {
        if dentry == read_or_zero(mount, offset!(mount_root)) {
            let below = read_or_zero(mount, offset!(mount_parent));
            if below == mount {
                return used as u32;
            }
            dentry = read_or_zero(mount, offset!(mount_mountpoint));
            mount = below;
            continue;
        }
        if used >= LAST_COMPONENT {
            return 0;
        }
        // Masked, because what was compared is forgotten once it lies on the stack.
        let at = black_box(used) & (LAST_COMPONENT - 1);
        let name: u64 = read_or_zero(dentry, offset!(dentry_name));
        // SAFETY: the helper writes at most `NAME_LEN` bytes, and so many are left; it checks the source.
        let written = unsafe {
            bpf_probe_read_kernel_str(
                into.as_mut_ptr().add(at).cast(),
                NAME_LEN as u32,
                name as *const c_void,
            )
        };
        if written <= 0 {
            return 0;
        }
        used = black_box(at + written as usize) & (2 * LAST_COMPONENT - 1);
        let parent = read_or_zero(dentry, offset!(dentry_parent));
        if parent == dentry {
            return used as u32; // a file without a directory, such as a memfd
        }
        dentry = parent;
    }
    0
}

/// Copies the first arguments out of the process's own memory: they are the program's, not yet changed by it.
#[inline(always)]
fn arguments(mm: u64, record: &mut ExecRecord) {
    let start: u64 = read_or_zero(mm, offset!(mm_arg_start));
    let end: u64 = read_or_zero(mm, offset!(mm_arg_end));
    record.arguments_length = end.saturating_sub(start) as u32;
    let length = record.arguments_length.min(ARGUMENTS_LEN as u32);
    // SAFETY: `length` bytes fit; the helper checks the source.
    let failed =
        unsafe { bpf_probe_read_user(record.arguments.as_mut_ptr().cast(), length, start as *const c_void) };
    if failed == 0 {
        record.arguments_read = length;
    }
}
