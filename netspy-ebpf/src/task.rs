//! Who is running.

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
    generated::{
        bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_task, bpf_get_current_task_btf,
        bpf_task_pt_regs,
    },
};
use netspy_common::{COMM_LEN, ProcessId, Task};

use crate::kernel::{Probed, Struct, Typed, is_task_typed, offset, read_into, read_or_zero};

/// Writes the current thread into zeroed memory: the stack has no room for it. Only meaningful in the context of
/// the caller, never in softirq.
#[inline(always)]
pub fn write_current(target: &mut Task) {
    let pid_tgid = bpf_get_current_pid_tgid();
    target.tgid = (pid_tgid >> 32) as u32;
    target.tid = pid_tgid as u32;
    target.uid = bpf_get_current_uid_gid() as u32;
    // SAFETY: a helper without arguments.
    target.cgroup_id = unsafe { bpf_get_current_cgroup_id() };
    // SAFETY: the helper fills as many bytes as it is told.
    unsafe { bpf_get_current_comm(target.comm.as_mut_ptr().cast(), COMM_LEN as u32) };
    target.process = target.comm;
    if is_task_typed() {
        write_thread(target, &typed());
    } else {
        write_thread(target, &probed());
    }
}

/// The current thread, where [`is_task_typed`].
#[inline(always)]
pub fn typed() -> Typed {
    // SAFETY: the helper returns a `struct task_struct`.
    unsafe { Typed::of(bpf_get_current_task_btf() as u64) }
}

/// The registers with which the current thread entered the kernel; since 5.15.
#[inline(always)]
pub fn registers() -> Typed {
    // SAFETY: the helpers give and take a `struct task_struct`, and return a `struct pt_regs`.
    unsafe { Typed::of(bpf_task_pt_regs(bpf_get_current_task_btf()) as u64) }
}

/// The current thread on any kernel.
#[inline(always)]
pub fn probed() -> Probed {
    // SAFETY: a helper without arguments.
    Probed(unsafe { bpf_get_current_task() })
}

#[inline(always)]
fn write_thread<S: Struct>(target: &mut Task, thread: &S) {
    target.exec_id = thread.get(offset!(task_exec_id));
    if target.tid == target.tgid {
        target.started_ns = thread.get(offset!(task_started));
    } else {
        target.started_ns = thread.at(offset!(task_group_leader)).get(offset!(task_started));
        read_into(&mut target.process, thread.get(offset!(task_group_leader)), offset!(task_comm));
    }
}

/// The process of any thread.
#[inline(always)]
pub fn process(task: u64) -> ProcessId {
    let leader: u64 = read_or_zero(task, offset!(task_group_leader));
    ProcessId {
        tgid: read_or_zero(task, offset!(task_tgid)),
        exec_id: read_or_zero(task, offset!(task_exec_id)),
        started_ns: read_or_zero(leader, offset!(task_started)),
    }
}
