//! The table: every event, and the rungs on which it can be had, best first.

use super::attach::{Attacher, RungError};
use crate::domain::Aspect;

/// How programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rung {
    /// Kprobes and kretprobes.
    Kprobe,
    /// BTF trampolines at functions, where there are no kprobes.
    Fentry,
    /// Tracepoints only.
    Tracepoint,
}

impl Rung {
    /// Its name in the API.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kprobe => "kprobe",
            Self::Fentry => "fentry",
            Self::Tracepoint => "tracepoint",
        }
    }
}

/// Attaches an event's programs; gives a remark if part of it could not be had.
pub(super) type Attach = fn(&mut Attacher<'_>) -> Result<Option<String>, RungError>;

/// Something that is traced.
pub(super) struct Event {
    /// Its name in the API.
    pub(super) name: &'static str,
    /// Fields without which no record of it can be trusted.
    pub(super) needs: &'static [&'static str],
    /// Best first.
    pub(super) rungs: &'static [(Rung, Attach)],
}

/// The first event: its rung is built into the programs (`WITHOUT_KPROBES`), so it is tried with an object of
/// its own.
pub(super) const CONNECTION: Event = Event {
    name: "connection",
    needs: SOCKET_FIELDS,
    rungs: &[(Rung::Kprobe, connects_by_kprobe), (Rung::Tracepoint, connects_by_tracepoint)],
};

/// What processes are; without it `/proc` is asked.
pub(super) const PROCESS: &str = "process";

/// All others: losing one does not lose another.
pub(super) const OTHERS: &[Event] = &[
    Event { name: PROCESS, needs: PROCESS_FIELDS, rungs: &[(Rung::Tracepoint, processes)] },
    Event {
        name: "accept",
        needs: &[],
        rungs: &[
            (Rung::Kprobe, |to| to.kprobe("accept_kprobe", "security_sock_graft").map(|()| None)),
            (Rung::Fentry, |to| to.fentry("accept_fentry", "security_sock_graft").map(|()| None)),
            (Rung::Tracepoint, |to| {
                to.require(FILE_FIELDS)?;
                to.syscalls(&[("accept_exit", "sys_exit_accept4"), ("accept_exit", "sys_exit_accept")])?;
                Ok(None)
            }),
        ],
    },
    Event {
        name: "unix",
        needs: &["socket_sk"],
        rungs: &[
            (Rung::Kprobe, unix_by_kprobe),
            (Rung::Fentry, unix_by_fentry),
            (Rung::Tracepoint, |to| {
                to.require(FILE_FIELDS)?;
                to.connect_calls("unix")?;
                Ok(Some("connects only, without their end".to_owned()))
            }),
        ],
    },
    Event {
        name: "udp",
        needs: FLOW_FIELDS,
        rungs: &[
            (Rung::Kprobe, udp_by_kprobe),
            (Rung::Fentry, udp_by_fentry),
            (Rung::Tracepoint, |to| {
                to.require(FILE_FIELDS)?;
                to.connect_calls("udp")?;
                Ok(Some("connects only, without what is sent, received and closed".to_owned()))
            }),
        ],
    },
    Event {
        name: "raw",
        needs: FLOW_FIELDS,
        rungs: &[(Rung::Kprobe, raw_by_kprobe), (Rung::Fentry, raw_by_fentry)],
    },
    Event {
        name: "packet_drop",
        needs: PACKET_FIELDS,
        rungs: &[(Rung::Tracepoint, |to| to.typed_tracepoint("packet_drop", "kfree_skb").map(|()| None))],
    },
    Event {
        name: "retransmit",
        needs: TROUBLE_FIELDS,
        rungs: &[(Rung::Tracepoint, |to| {
            to.raw_tracepoint("retransmit", "tcp_retransmit_skb").map(|()| None)
        })],
    },
    Event {
        name: "reset_sent",
        needs: TROUBLE_FIELDS,
        rungs: &[(Rung::Tracepoint, |to| to.typed_tracepoint("reset_sent", "tcp_send_reset").map(|()| None))],
    },
    Event {
        name: "reset_received",
        needs: TROUBLE_FIELDS,
        rungs: &[(Rung::Tracepoint, |to| {
            to.typed_tracepoint("reset_received", "tcp_receive_reset").map(|()| None)
        })],
    },
    Event {
        name: "listen_overflow",
        needs: LISTENER_FIELDS,
        rungs: &[(Rung::Kprobe, overflows_by_kprobe), (Rung::Fentry, overflows_by_fentry)],
    },
];

/// Events whose programs only see what another event's programs remember: useless without it.
pub(super) const BUILT_ON: &[(&str, &str)] = &[("accept", "connection")];

/// What the events tell whose records the canary cannot compare with anything.
pub(super) const TOLD: &[(&str, &[Aspect])] = {
    use Aspect::{Caller, Ends, Error, Namespace, Packet};
    &[
        (PROCESS, &[Caller]),
        ("unix", &[Caller, Namespace]),
        ("udp", &[Caller, Namespace, Ends, Error, Packet]),
        ("raw", &[Caller, Namespace, Ends, Error, Packet]),
        ("retransmit", &[Namespace, Ends, Packet]),
        ("reset_sent", &[Namespace, Ends, Packet]),
        ("reset_received", &[Namespace, Ends, Packet]),
        ("listen_overflow", &[Namespace, Packet]),
    ]
};

/// Programs whose skipped runs show elsewhere: a call that never returned is counted as such.
pub(super) const SKIPS_SHOW_ELSEWHERE: &[&str] = &["tcp_v4_return", "tcp_v6_return"];

/// The end first: a connection must not be followed without it.
fn unix_by_kprobe(to: &mut Attacher<'_>) -> Result<Option<String>, RungError> {
    to.require(UNIX_FIELDS)?;
    to.kprobe("unix_release_kprobe", "unix_release")?;
    for function in ["unix_stream_connect", "unix_dgram_connect"] {
        to.kprobe("unix_return_kprobe", function)?;
        to.kprobe("unix_enter_kprobe", function)?;
    }
    Ok(None)
}

fn unix_by_fentry(to: &mut Attacher<'_>) -> Result<Option<String>, RungError> {
    to.require(UNIX_FIELDS)?;
    to.fentry("unix_release_fentry", "unix_release")?;
    to.fexit("unix_stream_return_fexit", "unix_stream_connect")?;
    to.fentry("unix_stream_enter_fentry", "unix_stream_connect")?;
    to.fexit("unix_dgram_return_fexit", "unix_dgram_connect")?;
    to.fentry("unix_dgram_enter_fentry", "unix_dgram_connect")?;
    Ok(None)
}

/// The end before the beginning: a flow must not be seen without its end.
fn udp_by_kprobe(to: &mut Attacher<'_>) -> Result<Option<String>, RungError> {
    to.kprobe("release_kprobe", "sk_common_release")?;
    to.kprobe("udp_error_kprobe", "sock_def_error_report")?;
    to.kprobe("datagram_v4_return_kprobe", "__ip4_datagram_connect")?;
    to.kprobe("datagram_v4_enter_kprobe", "__ip4_datagram_connect")?;
    to.kprobe("udp_send_v4_kprobe", "ip_send_skb")?;
    to.kprobe("udp_receive_kprobe", "skb_consume_udp")?;
    let v6 = to
        .kprobe("datagram_v6_return_kprobe", "__ip6_datagram_connect")
        .and_then(|()| to.kprobe("datagram_v6_enter_kprobe", "__ip6_datagram_connect"))
        .and_then(|()| to.kprobe("udp_send_v6_kprobe", "ip6_send_skb"));
    Ok(without_ipv6(v6))
}

fn udp_by_fentry(to: &mut Attacher<'_>) -> Result<Option<String>, RungError> {
    to.fentry("release_fentry", "sk_common_release")?;
    to.fentry("udp_error_fentry", "sock_def_error_report")?;
    to.fexit("datagram_v4_fexit", "__ip4_datagram_connect")?;
    to.fentry("udp_send_v4_fentry", "ip_send_skb")?;
    to.fentry("udp_receive_fentry", "skb_consume_udp")?;
    let v6 = to
        .fexit("datagram_v6_fexit", "__ip6_datagram_connect")
        .and_then(|()| to.fentry("udp_send_v6_fentry", "ip6_send_skb"));
    Ok(without_ipv6(v6))
}

fn raw_by_kprobe(to: &mut Attacher<'_>) -> Result<Option<String>, RungError> {
    to.kprobe("raw_receive_kprobe", "skb_free_datagram")?;
    for function in ["raw_sendmsg", "ping_v4_sendmsg"] {
        to.kprobe("raw_return_kprobe", function)?;
        to.kprobe("raw_send_kprobe", function)?;
    }
    let v6 = ["rawv6_sendmsg", "ping_v6_sendmsg"].iter().try_for_each(|function| {
        to.kprobe("raw_return_kprobe", function)?;
        to.kprobe("raw_send_kprobe", function)
    });
    Ok(without_ipv6(v6))
}

fn raw_by_fentry(to: &mut Attacher<'_>) -> Result<Option<String>, RungError> {
    to.fentry("raw_receive_fentry", "skb_free_datagram")?;
    to.fexit("raw_v4_fexit", "raw_sendmsg")?;
    to.fexit("ping_v4_fexit", "ping_v4_sendmsg")?;
    let v6 =
        to.fexit("raw_v6_fexit", "rawv6_sendmsg").and_then(|()| to.fexit("ping_v6_fexit", "ping_v6_sendmsg"));
    Ok(without_ipv6(v6))
}

/// The state changes first: an attempt must not be seen without its outcome.
fn connects_by_kprobe(to: &mut Attacher<'_>) -> Result<Option<String>, RungError> {
    to.typed_tracepoint("socket_state", "inet_sock_set_state")?;
    to.kprobe("tcp_v4_return", "tcp_v4_connect")?;
    to.kprobe("tcp_v4_enter", "tcp_v4_connect")?;
    let v6 = to
        .kprobe("tcp_v6_return", "tcp_v6_connect")
        .and_then(|()| to.kprobe("tcp_v6_enter", "tcp_v6_connect"));
    Ok(without_ipv6(v6))
}

fn connects_by_tracepoint(to: &mut Attacher<'_>) -> Result<Option<String>, RungError> {
    to.require(FILE_FIELDS)?;
    to.typed_tracepoint("socket_state", "inet_sock_set_state")?;
    to.connect_calls("connection").map(|()| None)
}

/// The end first: what is never reported to begin must not stay for ever.
fn processes(to: &mut Attacher<'_>) -> Result<Option<String>, RungError> {
    to.raw_tracepoint("process_exit", "sched_process_exit")?;
    to.raw_tracepoint("process_exec", "sched_process_exec")?;
    to.raw_tracepoint("process_fork", "sched_process_fork")?;
    Ok(None)
}

fn overflows_by_kprobe(to: &mut Attacher<'_>) -> Result<Option<String>, RungError> {
    to.kprobe("request_kprobe", "tcp_conn_request")?;
    to.kprobe("complete_v4_kprobe", "tcp_v4_syn_recv_sock")?;
    Ok(without_ipv6(to.kprobe("complete_v6_kprobe", "tcp_v6_syn_recv_sock")))
}

/// Before 6.6 the kernel enters no programs where a function has more than six arguments: updates of 6.1 gave the
/// second one a seventh.
fn overflows_by_fentry(to: &mut Attacher<'_>) -> Result<Option<String>, RungError> {
    to.fentry("request_fentry", "tcp_conn_request")?;
    Ok(match to.fentry("complete_v4_fentry", "tcp_v4_syn_recv_sock") {
        Ok(()) => without_ipv6(to.fentry("complete_v6_fentry", "tcp_v6_syn_recv_sock")),
        Err(error) => Some(format!("only queues that a first packet finds full: {error}")),
    })
}

/// IPv6 may be switched off or a module that is not loaded.
fn without_ipv6(attached: Result<(), RungError>) -> Option<String> {
    attached.err().map(|error| format!("without IPv6: {error}"))
}

const SOCKET_FIELDS: &[&str] = &[
    "sock_family",
    "sock_num",
    "sock_sport",
    "sock_dport",
    "sock_saddr",
    "sock_daddr",
    "sock_v6_saddr",
    "sock_v6_daddr",
    "sock_err",
    "sock_protocol",
    "sock_state",
    "sock_type",
    "sock_flags",
    "tcp_bytes_sent",
    "tcp_bytes_retrans",
    "tcp_bytes_received",
    "tcp_srtt",
    "tcp_total_retrans",
];
/// What a flow's name is made of, and its packets' headers.
const FLOW_FIELDS: &[&str] = &[
    "sock_family",
    "sock_num",
    "sock_dport",
    "sock_saddr",
    "sock_daddr",
    "sock_v6_saddr",
    "sock_v6_daddr",
    "sock_err",
    "sock_protocol",
    "sock_state",
    "sock_type",
    "sock_bound_dev",
    "sock_socket",
    "socket_file",
    "socket_inode",
    "skb_head",
    "skb_len",
    "skb_network_header",
    "skb_transport_header",
    "skb_protocol",
    "skb_sk",
    "msg_name",
];
/// What the end of a UNIX socket is found by, and who closed first.
const UNIX_FIELDS: &[&str] = &["socket_inode", "sock_flags", "sock_err", "sock_type", "unix_peer"];
/// What leads from a file descriptor to its socket.
const FILE_FIELDS: &[&str] = &[
    "task_files",
    "files_fdt",
    "fdtable_fd",
    "fdtable_max_fds",
    "file_private_data",
    "socket_file",
    "socket_sk",
    "socket_state",
    "socket_type",
];
const PROCESS_FIELDS: &[&str] = &[
    "task_group_leader",
    "task_started",
    "task_pid",
    "task_tgid",
    "task_parent",
    "task_exec_id",
    "task_signal",
    "signal_live",
    "task_mm",
    "mm_arg_start",
    "mm_arg_end",
    "mm_exe_file",
    "file_dentry",
    "file_mount",
    "dentry_name",
    "dentry_parent",
    "mount_vfs",
    "mount_root",
    "mount_parent",
    "mount_mountpoint",
];
const PACKET_FIELDS: &[&str] =
    &["skb_head", "skb_tail", "skb_len", "skb_network_header", "skb_protocol", "skb_dev", "skb_sk"];
/// Of sockets that are not full ones too: `struct sock_common`, the port of a closed one, and the packet.
const TROUBLE_FIELDS: &[&str] = &[
    "sock_family",
    "sock_num",
    "sock_sport",
    "sock_dport",
    "sock_saddr",
    "sock_daddr",
    "sock_v6_saddr",
    "sock_v6_daddr",
    "skb_head",
    "skb_tail",
    "skb_len",
    "skb_network_header",
    "skb_protocol",
    "skb_dev",
];
const LISTENER_FIELDS: &[&str] = &[
    "sock_ack_backlog",
    "sock_max_ack_backlog",
    "conn_request_sk",
    "conn_request_skb",
    "syn_recv_sk",
    "syn_recv_skb",
    "skb_head",
    "skb_tail",
    "skb_network_header",
    "skb_protocol",
    "skb_dev",
];
