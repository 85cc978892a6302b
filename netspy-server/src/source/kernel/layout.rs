//! Where the running kernel keeps what the programs read: each field of the layout and its name in the
//! kernel, in one table.

use std::collections::BTreeMap;

use netspy_common::{KernelLayout, MISSING};

use super::btf::{BtfError, KernelTypes};

/// What is asked of the running kernel once, at start.
pub struct KernelFacts {
    /// Offsets and argument positions.
    pub layout: KernelLayout,
    /// Names of the drop reasons; empty before 5.17.
    pub drop_reasons: BTreeMap<u32, String>,
}

/// Reads the kernel's BTF; it is forgotten afterwards (it is large).
pub fn read_kernel_facts() -> Result<KernelFacts, BtfError> {
    let types = KernelTypes::read()?;
    let layout = layout(&types);
    for (field, value) in layout.fields() {
        tracing::debug!(field, value = i64::from(value.cast_signed()), "kernel layout");
    }
    let drop_reasons = types.enumerators("skb_drop_reason", "SKB_DROP_REASON_");
    Ok(KernelFacts { layout, drop_reasons })
}

/// Fields without which no record can be trusted, by the program that needs them.
pub fn missing_fields(layout: &KernelLayout, needed: &[&str]) -> Vec<&'static str> {
    layout.fields().filter(|(name, value)| *value == MISSING && needed.contains(name)).map(|f| f.0).collect()
}

fn layout(types: &KernelTypes) -> KernelLayout {
    let at = |path| types.offset(path);
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
        net_inum: at("net.ns.inum"),
        skb_head: at("sk_buff.head"),
        skb_tail: at("sk_buff.tail"),
        skb_len: at("sk_buff.len"),
        skb_network_header: at("sk_buff.network_header"),
        skb_protocol: at("sk_buff.protocol"),
        skb_dev: at("sk_buff.dev"),
        skb_sk: at("sk_buff.sk"),
        dev_ifindex: at("net_device.ifindex"),
        dev_net: at("net_device.nd_net.net"),
        task_group_leader: at("task_struct.group_leader"),
        task_started: at("task_struct.start_boottime"),
        task_comm: at("task_struct.comm"),
        task_files: at("task_struct.files"),
        files_fdt: at("files_struct.fdt"),
        fdtable_fd: at("fdtable.fd"),
        fdtable_max_fds: at("fdtable.max_fds"),
        file_private_data: at("file.private_data"),
        socket_file: at("socket.file"),
        socket_sk: at("socket.sk"),
        socket_state: at("socket.state"),
        kfree_skb_reason: types.argument("kfree_skb", |name| name == "skb_drop_reason"),
        kfree_skb_rx_sk: types.argument("kfree_skb", |name| name == "*sock"),
    }
}
