//! Where the running kernel keeps what the programs read: each field of the layout and its name in the
//! kernel, in one table.

use netspy_common::{KernelLayout, MISSING};

use super::{
    btf::{BtfError, KernelTypes},
    names::kernel_names,
};
use crate::domain::KernelNames;

/// What is asked of the running kernel once, at start.
pub struct KernelFacts {
    /// Offsets and argument positions.
    pub layout: KernelLayout,
    /// What the kernel calls its numbers.
    pub names: KernelNames,
    /// Whether the kernel counts the runs of programs at kprobes and tracepoints that it skips. It has done so since
    /// 6.7, which also shows how many hits a kprobe itself missed: that field is how to tell.
    pub counts_skipped_probes: bool,
    /// Whether programs of every kind can have the current task with its type: the helper came with 5.11.
    pub types_current_task: bool,
    /// Whether programs may ask for a socket's cookie: since 5.12.
    pub gives_cookies: bool,
}

/// Plain old data that the loader may copy into the object.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct InjectedLayout(pub KernelLayout);

// SAFETY: only u32 fields, `repr(C)`: no padding, every bit pattern valid.
#[allow(unsafe_code)]
unsafe impl aya::Pod for InjectedLayout {}

/// Reads the kernel's BTF; it is forgotten afterwards (it is large).
pub fn read_kernel_facts() -> Result<KernelFacts, BtfError> {
    let types = KernelTypes::read()?;
    let layout = layout(&types);
    for (field, value) in layout.fields() {
        tracing::debug!(field, value = i64::from(value.cast_signed()), "kernel layout");
    }
    let names = kernel_names(&types);
    for (code, name) in names.drop_reasons.iter().filter(|(code, _)| **code > 0xffff) {
        tracing::debug!(code, name, "drop reason of a subsystem");
    }
    let counts_skipped_probes = types.offset("bpf_link_info.perf_event.kprobe.missed") != MISSING;
    let types_current_task = has_helper(&types, "get_current_task_btf");
    let gives_cookies = types.has_function("bpf_get_socket_ptr_cookie");
    Ok(KernelFacts { layout, names, counts_skipped_probes, types_current_task, gives_cookies })
}

/// Fields without which no record can be trusted, by the program that needs them.
pub fn missing_fields(layout: &KernelLayout, needed: &[&str]) -> Vec<&'static str> {
    layout.fields().filter(|(name, value)| *value == MISSING && needed.contains(name)).map(|f| f.0).collect()
}

/// Whether the kernel knows a helper by this name.
fn has_helper(types: &KernelTypes, helper: &str) -> bool {
    types.enumerators("bpf_func_id", "BPF_FUNC_").values().any(|name| name == helper)
}

fn layout(types: &KernelTypes) -> KernelLayout {
    let at = |path| types.offset(path);
    // The helper came with 5.15.
    let arguments = ARGUMENTS.map(|(member, behind)| match at(member).checked_add(behind) {
        Some(offset) if has_helper(types, "task_pt_regs") => offset,
        _ => MISSING,
    });
    KernelLayout {
        sock_family: at("sock.__sk_common.skc_family"),
        sock_num: at("sock.__sk_common.skc_num"),
        sock_sport: at("inet_sock.inet_sport"),
        sock_dport: at("sock.__sk_common.skc_dport"),
        sock_saddr: at("sock.__sk_common.skc_rcv_saddr"),
        sock_daddr: at("sock.__sk_common.skc_daddr"),
        sock_v6_saddr: at("sock.__sk_common.skc_v6_rcv_saddr"),
        sock_v6_daddr: at("sock.__sk_common.skc_v6_daddr"),
        sock_net: at("sock.__sk_common.skc_net.net"),
        sock_err: at("sock.sk_err"),
        sock_protocol: at("sock.sk_protocol"),
        sock_state: at("sock.__sk_common.skc_state"),
        sock_type: at("sock.sk_type"),
        sock_cookie: at("sock.__sk_common.skc_cookie"),
        sock_flags: at("sock.__sk_common.skc_flags"),
        tcp_bytes_sent: at("tcp_sock.bytes_sent"),
        tcp_bytes_retrans: at("tcp_sock.bytes_retrans"),
        tcp_bytes_received: at("tcp_sock.bytes_received"),
        tcp_srtt: at("tcp_sock.srtt_us"),
        tcp_total_retrans: at("tcp_sock.total_retrans"),
        mptcp_first: at("mptcp_sock.first"),
        sock_ack_backlog: at("sock.sk_ack_backlog"),
        sock_max_ack_backlog: at("sock.sk_max_ack_backlog"),
        net_inum: at("net.ns.inum"),
        skb_head: at("sk_buff.head"),
        skb_tail: at("sk_buff.tail"),
        skb_len: at("sk_buff.len"),
        skb_network_header: at("sk_buff.network_header"),
        skb_transport_header: at("sk_buff.transport_header"),
        skb_cb: at("sk_buff.cb"),
        skb_users: at("sk_buff.users"),
        skb_refdst: at("sk_buff._skb_refdst"),
        dst_dev: at("dst_entry.dev"),
        msg_name: at("msghdr.msg_name"),
        skb_protocol: at("sk_buff.protocol"),
        skb_dev: at("sk_buff.dev"),
        skb_sk: at("sk_buff.sk"),
        skb_iif: at("sk_buff.skb_iif"),
        dev_ifindex: at("net_device.ifindex"),
        dev_net: at("net_device.nd_net.net"),
        dev_name: at("net_device.name"),
        task_group_leader: at("task_struct.group_leader"),
        task_started: at("task_struct.start_boottime"),
        task_comm: at("task_struct.comm"),
        task_pid: at("task_struct.pid"),
        task_tgid: at("task_struct.tgid"),
        task_parent: at("task_struct.real_parent"),
        task_exec_id: at("task_struct.self_exec_id"),
        task_signal: at("task_struct.signal"),
        signal_live: at("signal_struct.live"),
        task_mm: at("task_struct.mm"),
        mm_arg_start: at("mm_struct.arg_start"),
        mm_arg_end: at("mm_struct.arg_end"),
        mm_exe_file: at("mm_struct.exe_file"),
        file_dentry: at("file.f_path.dentry"),
        file_mount: at("file.f_path.mnt"),
        dentry_name: at("dentry.d_name.name"),
        dentry_parent: at("dentry.d_parent"),
        mount_vfs: at("mount.mnt"),
        mount_root: at("mount.mnt.mnt_root"),
        mount_parent: at("mount.mnt_parent"),
        mount_mountpoint: at("mount.mnt_mountpoint"),
        task_files: at("task_struct.files"),
        files_fdt: at("files_struct.fdt"),
        fdtable_fd: at("fdtable.fd"),
        fdtable_max_fds: at("fdtable.max_fds"),
        file_private_data: at("file.private_data"),
        socket_file: at("socket.file"),
        socket_sk: at("socket.sk"),
        socket_state: at("socket.state"),
        socket_type: at("socket.type"),
        registers_first: arguments[0],
        registers_second: arguments[1],
        socket_inode: at("socket_alloc.vfs_inode.i_ino"),
        sock_bound_dev: at("sock.__sk_common.skc_bound_dev_if"),
        sock_socket: at("sock.sk_socket"),
        sock_peer_pid: at("sock.sk_peer_pid"),
        pid_numbers: at("pid.numbers"),
        unix_peer: at("unix_sock.peer"),
        kfree_skb_reason: types.argument("kfree_skb", |name| name == "skb_drop_reason"),
        kfree_skb_rx_sk: types.argument("kfree_skb", |name| name == "*sock"),
        retransmit_error: types.argument("tcp_retransmit_skb", |name| name == "int"),
        send_reset_reason: types.argument("tcp_send_reset", |name| name == "sk_rst_reason"),
        conn_request_sk: expected(types.parameter("tcp_conn_request", |name| name == "*sock"), 2),
        conn_request_skb: expected(types.parameter("tcp_conn_request", |name| name == "*sk_buff"), 3),
        syn_recv_sk: expected(types.parameter("tcp_v4_syn_recv_sock", |name| name == "*sock"), 0),
        syn_recv_skb: expected(types.parameter("tcp_v4_syn_recv_sock", |name| name == "*sk_buff"), 1),
    }
}

/// Where a system call's first argument is kept, and its second: a member of `struct pt_regs`, and the bytes that follow it
/// before the register (`syscall_get_arguments`, arch/*/include/asm/syscall.h).
#[cfg(target_arch = "x86_64")]
const ARGUMENTS: [(&str, u32); 2] = [("pt_regs.di", 0), ("pt_regs.si", 0)];
#[cfg(not(target_arch = "x86_64"))]
const ARGUMENTS: [(&str, u32); 2] = [("pt_regs.orig_x0", 0), ("pt_regs.regs", 8)];

/// A position at which a program has its argument: anywhere else is as good as nowhere.
fn expected(found: u32, position: u32) -> u32 {
    if found == position { found } else { MISSING }
}
