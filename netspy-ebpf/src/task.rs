//! Who is running.

use aya_ebpf::helpers::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
    generated::{bpf_get_current_cgroup_id, bpf_get_current_task},
};
use netspy_common::Task;

use crate::kernel::{offset, read, read_or_zero};

/// The current thread. Only meaningful in the context of the caller, never in softirq.
#[inline(always)]
pub fn current() -> Task {
    let pid_tgid = bpf_get_current_pid_tgid();
    // SAFETY: helpers without arguments.
    let (task, cgroup_id) = unsafe { (bpf_get_current_task(), bpf_get_current_cgroup_id()) };
    let leader: u64 = read_or_zero(task, offset!(task_group_leader));
    let comm = bpf_get_current_comm().unwrap_or_default();
    Task {
        tgid: (pid_tgid >> 32) as u32,
        tid: pid_tgid as u32,
        uid: bpf_get_current_uid_gid() as u32,
        pad: 0,
        cgroup_id,
        started_ns: read_or_zero(leader, offset!(task_started)),
        comm,
        process: read(leader, offset!(task_comm)).unwrap_or(comm),
    }
}
