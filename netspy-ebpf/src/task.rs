//! Who is running.

use aya_ebpf::helpers::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
    generated::{bpf_get_current_cgroup_id, bpf_get_current_task},
};
use netspy_common::{ProcessId, Task};

use crate::kernel::{offset, read_into, read_or_zero};

/// Writes the current thread into zeroed memory: the stack has no room for it. Only meaningful in the context of
/// the caller, never in softirq.
#[inline(always)]
pub fn write_current(target: &mut Task) {
    let pid_tgid = bpf_get_current_pid_tgid();
    // SAFETY: helpers without arguments.
    let (task, cgroup_id) = unsafe { (bpf_get_current_task(), bpf_get_current_cgroup_id()) };
    target.tgid = (pid_tgid >> 32) as u32;
    target.tid = pid_tgid as u32;
    target.uid = bpf_get_current_uid_gid() as u32;
    target.exec_id = read_or_zero(task, offset!(task_exec_id));
    target.cgroup_id = cgroup_id;
    target.comm = bpf_get_current_comm().unwrap_or_default();
    target.process = target.comm;
    let mut leader = task as u64;
    if target.tid != target.tgid {
        leader = read_or_zero(leader, offset!(task_group_leader));
        read_into(&mut target.process, leader, offset!(task_comm));
    }
    target.started_ns = read_or_zero(leader, offset!(task_started));
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
