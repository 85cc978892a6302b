//! Where the running kernel keeps what the programs read.
//!
//! Rust eBPF cannot emit CO-RE relocations, so the server resolves every offset from the running kernel's
//! BTF and injects this struct as a read-only global; the verifier then sees constants and prunes the
//! branches of fields that this kernel does not have.

/// Marks an offset, argument or reason that the running kernel does not have.
pub const MISSING: u32 = u32::MAX;

macro_rules! kernel_layout {
    ($($(#[$doc:meta])* $field:ident),* $(,)?) => {
        /// Offsets in bytes into the running kernel's structs, and argument positions of its tracepoints.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct KernelLayout { $($(#[$doc])* pub $field: u32),* }

        impl KernelLayout {
            /// A kernel of which nothing is known.
            pub const UNKNOWN: Self = Self { $($field: MISSING),* };

            /// Each field's name and value, for diagnostics.
            pub fn fields(&self) -> impl Iterator<Item = (&'static str, u32)> {
                [$((stringify!($field), self.$field)),*].into_iter()
            }
        }
    };
}

kernel_layout! {
    /// `sock.__sk_common.skc_family`
    sock_family,
    /// `sock.__sk_common.skc_num`: local port, host order; 0 while none is bound
    sock_num,
    /// `inet_sock.inet_sport`: local port, network order; stays when the port is given back
    sock_sport,
    /// `sock.__sk_common.skc_dport`: remote port, network order
    sock_dport,
    /// `sock.__sk_common.skc_rcv_saddr`
    sock_saddr,
    /// `sock.__sk_common.skc_daddr`
    sock_daddr,
    /// `sock.__sk_common.skc_v6_rcv_saddr`
    sock_v6_saddr,
    /// `sock.__sk_common.skc_v6_daddr`
    sock_v6_daddr,
    /// `sock.__sk_common.skc_net.net`
    sock_net,
    /// `sock.sk_err`
    sock_err,
    /// `sock.sk_protocol` (u16 since 5.6)
    sock_protocol,
    /// `sock.__sk_common.skc_state`: one byte
    sock_state,
    /// `sock.sk_type` (u16 since 5.6)
    sock_type,
    /// `sock.__sk_common.skc_flags`: bit 0 (`SOCK_DEAD`) once its owner has closed it, bit 1 (`SOCK_DONE`) once the peer's
    /// FIN was received
    sock_flags,
    /// `sock.__sk_common.skc_cookie`: 0 until somebody asks for it
    sock_cookie,
    /// `tcp_sock.bytes_sent`: payload handed to the network, retransmissions included
    tcp_bytes_sent,
    /// `tcp_sock.bytes_retrans`: payload handed to it again
    tcp_bytes_retrans,
    /// `tcp_sock.bytes_received`: payload in order, and 1 for a FIN
    tcp_bytes_received,
    /// `tcp_sock.srtt_us`: eight times the smoothed RTT in µs
    tcp_srtt,
    /// `tcp_sock.total_retrans`
    tcp_total_retrans,
    /// `mptcp_sock.first`: the TCP socket below it
    mptcp_first,
    /// `sock.sk_ack_backlog`: connections that wait to be accepted
    sock_ack_backlog,
    /// `sock.sk_max_ack_backlog`: how many may wait
    sock_max_ack_backlog,
    /// `net.ns.inum`
    net_inum,
    /// `sk_buff.head`
    skb_head,
    /// `sk_buff.tail`: offset from `head`
    skb_tail,
    /// `sk_buff.len`
    skb_len,
    /// `sk_buff.network_header`: offset from `head`
    skb_network_header,
    /// `sk_buff.transport_header`: offset from `head`
    skb_transport_header,
    /// `sk_buff.cb`
    skb_cb,
    /// `sk_buff.users`: how many hold it
    skb_users,
    /// `sk_buff._skb_refdst`: a `struct dst_entry *`, its lowest bit a flag
    skb_refdst,
    /// `dst_entry.dev`
    dst_dev,
    /// `msghdr.msg_name`
    msg_name,
    /// `sk_buff.protocol`
    skb_protocol,
    /// `sk_buff.dev`
    skb_dev,
    /// `sk_buff.sk`
    skb_sk,
    /// `sk_buff.skb_iif`: index of the interface that received it, 0 for one that none has
    skb_iif,
    /// `net_device.ifindex`
    dev_ifindex,
    /// `net_device.nd_net.net`
    dev_net,
    /// `net_device.name`
    dev_name,
    /// `task_struct.group_leader`
    task_group_leader,
    /// `task_struct.start_boottime` (`real_start_time` before 5.5)
    task_started,
    /// `task_struct.comm`
    task_comm,
    /// `task_struct.pid`
    task_pid,
    /// `task_struct.tgid`
    task_tgid,
    /// `task_struct.real_parent`
    task_parent,
    /// `task_struct.self_exec_id`: u64, little-endian, since 5.7; u32 before
    task_exec_id,
    /// `task_struct.signal`
    task_signal,
    /// `signal_struct.live`: threads that are not ending
    signal_live,
    /// `task_struct.mm`
    task_mm,
    /// `mm_struct.arg_start`
    mm_arg_start,
    /// `mm_struct.arg_end`
    mm_arg_end,
    /// `mm_struct.exe_file`
    mm_exe_file,
    /// `file.f_path.dentry`
    file_dentry,
    /// `file.f_path.mnt`
    file_mount,
    /// `dentry.d_name.name`
    dentry_name,
    /// `dentry.d_parent`
    dentry_parent,
    /// `mount.mnt`: the part of a mount that others point to
    mount_vfs,
    /// `mount.mnt.mnt_root`
    mount_root,
    /// `mount.mnt_parent`
    mount_parent,
    /// `mount.mnt_mountpoint`
    mount_mountpoint,
    /// `task_struct.files`
    task_files,
    /// `files_struct.fdt`
    files_fdt,
    /// `fdtable.fd`
    fdtable_fd,
    /// `fdtable.max_fds`
    fdtable_max_fds,
    /// `file.private_data`
    file_private_data,
    /// `socket.file`
    socket_file,
    /// `socket.sk`
    socket_sk,
    /// `socket.state`
    socket_state,
    /// `socket.type`: two bytes
    socket_type,
    /// `pt_regs.di` (x86-64), `pt_regs.orig_x0` (arm64): the first argument of a system call; only where programs can have
    /// these registers
    registers_first,
    /// `pt_regs.si` (x86-64), `pt_regs.regs[1]` (arm64): the second
    registers_second,
    /// `socket_alloc.vfs_inode.i_ino`, counted from its `socket`
    socket_inode,
    /// `sock.__sk_common.skc_bound_dev_if`
    sock_bound_dev,
    /// `sock.sk_socket`
    sock_socket,
    /// `sock.sk_peer_pid`
    sock_peer_pid,
    /// `pid.numbers`: the first is the initial namespace's
    pid_numbers,
    /// `unix_sock.peer`: the `struct sock` that it is connected to
    unix_peer,
    /// Position of `reason` among the arguments of tracepoint `kfree_skb`
    kfree_skb_reason,
    /// Position of `rx_sk` among the arguments of tracepoint `kfree_skb`
    kfree_skb_rx_sk,
    /// Position of `err` among the arguments of tracepoint `tcp_retransmit_skb`
    retransmit_error,
    /// Position of `reason` among the arguments of tracepoint `tcp_send_reset`
    send_reset_reason,
    /// Position of the listener among the arguments of `tcp_conn_request`
    conn_request_sk,
    /// Position of the packet among the arguments of `tcp_conn_request`
    conn_request_skb,
    /// Position of the listener among the arguments of `tcp_v4_syn_recv_sock`, and of its namesake of IPv6
    syn_recv_sk,
    /// Position of the packet among the same
    syn_recv_skb,
}
