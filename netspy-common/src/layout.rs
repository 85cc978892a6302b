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
    /// `sk_buff.protocol`
    skb_protocol,
    /// `sk_buff.dev`
    skb_dev,
    /// `sk_buff.sk`
    skb_sk,
    /// `net_device.ifindex`
    dev_ifindex,
    /// `net_device.nd_net.net`
    dev_net,
    /// `task_struct.group_leader`
    task_group_leader,
    /// `task_struct.start_boottime` (`real_start_time` before 5.5)
    task_started,
    /// `task_struct.comm`
    task_comm,
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
    /// Position of `reason` among the arguments of tracepoint `kfree_skb`
    kfree_skb_reason,
    /// Position of `rx_sk` among the arguments of tracepoint `kfree_skb`
    kfree_skb_rx_sk,
}
