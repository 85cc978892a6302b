//! The event objects.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Any event, told apart by its `type`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum Event {
    /// A connection, or a flow of datagrams.
    #[serde(rename = "connection")]
    Connection(ConnectionEvent),
    /// The kernel dropped a packet.
    #[serde(rename = "packet_drop")]
    PacketDrop(DropEvent),
    /// A segment of a TCP connection was sent again.
    #[serde(rename = "retransmit")]
    Retransmit(TroubleEvent),
    /// This machine sent a RST.
    #[serde(rename = "reset_sent")]
    ResetSent(TroubleEvent),
    /// A RST from the peer ended a connection of this machine.
    #[serde(rename = "reset_received")]
    ResetReceived(TroubleEvent),
    /// A listener had no room for one more connection.
    #[serde(rename = "listen_overflow")]
    ListenOverflow(TroubleEvent),
}

impl Event {
    /// Its `type`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connection(_) => "connection",
            Self::PacketDrop(_) => "packet_drop",
            Self::Retransmit(_) => "retransmit",
            Self::ResetSent(_) => "reset_sent",
            Self::ResetReceived(_) => "reset_received",
            Self::ListenOverflow(_) => "listen_overflow",
        }
    }
}

/// A process that made another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Ancestor {
    /// Its process id.
    pub pid: u32,
    /// Its name (kernel `comm`).
    pub name: String,
    /// Path of its executable, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
}

/// One connection, or flow of datagrams, and what became of it. An inbound one has its peer as the source and
/// this machine as the destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConnectionEvent {
    /// 16 hexadecimal digits.
    pub id: String,
    /// Process id (tgid).
    pub pid: u32,
    /// Name of the thread that connected or accepted (kernel `comm`, at most 15 bytes).
    pub command: String,
    /// Nanoseconds since boot (`CLOCK_MONOTONIC`) when the attempt began.
    pub timestamp: u64,
    /// The same moment, RFC 3339, in the server's zone.
    pub time: String,
    /// 0, or the negated errno with which the attempt failed.
    pub return_code: i32,
    /// Address of the other end; v4-mapped IPv6 as IPv4; empty where the call named none.
    pub destination_ip: String,
    /// Its port.
    pub destination_port: u16,
    /// `ip:port` or `[v6]:port`, with the interface index of a link-local address (`[fe80::1%2]:80`); of a UNIX socket its `path`; empty where the call named none.
    pub destination: String,
    /// Raw `AF_*` number of the socket.
    pub address_family: u16,
    /// IP protocol by name, or `UNIX`.
    pub protocol: String,
    /// `STREAM`, `DGRAM`, `RAW` or `SEQPACKET`.
    pub socket_type: String,
    /// Remote IPv4 address: its network-order bytes read little-endian; 0 for IPv6.
    pub raw_ipv4: u32,
    /// Remote IPv6 address: 16 bytes; zeroes for IPv4.
    pub raw_ipv6: Vec<u8>,
    /// IP protocol number.
    pub raw_protocol: u8,
    /// `SOCK_*` number.
    pub raw_socktype: u8,

    /// `outbound` (the process connected) or `inbound` (it accepted, or listens).
    pub direction: String,
    /// Whether it was there before netspy: then its beginning is when netspy found it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub found: bool,
    /// `pending`, `unanswered` (datagrams: none has come back, which proves nothing about the peer), `established` (of
    /// datagrams: one was received), `refused`, `reset`, `timed_out`, `unreachable`, `aborted` or `failed`.
    pub outcome: String,
    /// Where it failed: `route`, `bind`, `call` (nothing was sent) or `handshake`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The errno it failed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<u32>,
    /// Its symbolic name, such as `ECONNREFUSED`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno_name: Option<String>,
    /// Microseconds from the call, or the first datagram sent, to the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// Address of the end that began it, once the kernel has chosen it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<String>,
    /// Its port, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Its `ip:port`, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Thread id.
    pub tid: u32,
    /// Name of the process (its first thread's `comm`).
    pub process: String,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// Path of the executable that the process ran, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Arguments of the process, in one line, in quotes where an end would not be clear. At most 512 bytes of them are
    /// kept: `…` ends one that was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
    /// Parent of the process, the parent's parent, … at most eight: each as it was when it made the next.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<Ancestor>,
    /// Systemd service or scope that the process runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Container of the process: its runtime's id, or the name of an LXC container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// Kubernetes pod of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// Id of the cgroup in the unified hierarchy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_id: Option<u64>,
    /// Inode number of the network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<u32>,
    /// UNIX sockets: path of the peer's socket; an abstract name begins with `@`, which also stands for each NUL in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// UNIX sockets: process id of the peer when it began to listen; absent for datagrams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_pid: Option<u32>,
    /// Inbound: microseconds in the listener's queue until it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_after_us: Option<u64>,
    /// Payload sent, in bytes, once known; retransmissions are not counted twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_sent: Option<u64>,
    /// Payload received, in bytes, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_received: Option<u64>,
    /// Datagrams sent: handed to the network, counted by call also where the kernel splits them (`UDP_SEGMENT`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_sent: Option<u64>,
    /// Datagrams received: taken by the process, counted by call also where the kernel joins them (`UDP_GRO`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_received: Option<u64>,
    /// TCP: smoothed round-trip time in microseconds (RFC 6298).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srtt_us: Option<u32>,
    /// TCP: segments sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u32>,
    /// How it ended: `closed_locally`, `closed_by_peer`, `reset_by_peer`, `reset_locally`, `timed_out`, `idle`,
    /// `failed` or `unseen` (it is gone, the record of how was lost); absent while it is open, and where the
    /// kernel lets nobody see the end of its kind (UNIX and UDP without kprobes and fentry).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ending: Option<String>,
    /// The socket's error at the end, such as `ECONNRESET`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ending_errno_name: Option<String>,
    /// Microseconds from the beginning to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
}

/// One dropped packet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DropEvent {
    /// 16 hexadecimal digits.
    pub id: String,
    /// Process id of the packet's owner; 0 where `attribution` is `none`.
    pub pid: u32,
    /// Name of the owner's thread (kernel `comm`); empty where `attribution` is `none`.
    pub command: String,
    /// Nanoseconds since boot (`CLOCK_MONOTONIC`).
    pub timestamp: u64,
    /// The same moment, RFC 3339, in the server's zone.
    pub time: String,
    /// The running kernel's name for the reason; `UNCLASSIFIED` where it gives none (before 5.17).
    pub drop_reason: String,
    /// The same under its earlier name.
    pub reason: String,
    /// The running kernel's number for it; 0 where it gives none. Numbers differ between kernels.
    pub drop_reason_code: u32,
    /// `harmful`, `expected` (nothing is missing), or `unclassified` (the reason does not tell).
    pub class: String,
    /// What the reason means, in one sentence.
    pub explanation: String,
    /// Bytes in the packet.
    pub skb_length: u32,
    /// The same under its earlier name.
    pub packet_size_bytes: u32,

    /// How the owner was found: `socket`, `tuple`, or `none`.
    pub attribution: String,
    /// Kernel code that dropped it: `symbol+0xoffset`.
    pub location: String,
    /// IP protocol by name, or `Unknown(n)`.
    pub protocol: String,
    /// IP protocol number, 0 where unknown.
    pub raw_protocol: u8,
    /// Sender's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<String>,
    /// Sender's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Sender's `ip:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Receiver's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_ip: Option<String>,
    /// Receiver's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// Receiver's `ip:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// `EtherType`, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ether_type: Option<u16>,
    /// `received`, `sent` or `forwarded`, where the packet tells: which way it was going.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// Interface index, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface_index: Option<u32>,
    /// Name of that interface at that moment, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Inode number of the network namespace, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<u32>,
    /// Owner's thread id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tid: Option<u32>,
    /// Name of the owner's process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Owner's user id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Path of the owner's executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Arguments of the owner, in one line, in quotes where an end would not be clear. At most 512 bytes of them are
    /// kept: `…` ends one that was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
    /// Parent of the owner, the parent's parent, … at most eight: each as it was when it made the next.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<Ancestor>,
    /// Systemd service or scope that the owner runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Container of the owner: its runtime's id, or the name of an LXC container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// Kubernetes pod of the owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
}

/// Trouble on a TCP connection, or with a listener: the `type` of the event says which.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TroubleEvent {
    /// 16 hexadecimal digits.
    pub id: String,
    /// Process id of the socket's owner; 0 where `attribution` is `none`.
    pub pid: u32,
    /// Name of the owner's thread (kernel `comm`); empty where `attribution` is `none`.
    pub command: String,
    /// Nanoseconds since boot (`CLOCK_MONOTONIC`).
    pub timestamp: u64,
    /// The same moment, RFC 3339, in the server's zone.
    pub time: String,
    /// How the owner was found: `socket` or `none`.
    pub attribution: String,
    /// `TCP`.
    pub protocol: String,
    /// Address of the end that sent the segment, or was to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<String>,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Its `ip:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Address of the other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_ip: Option<String>,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// Its `ip:port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// `reset_sent`: the running kernel's name for the reason, where it gives one (since 6.10).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `retransmit`: bytes in the segment, headers not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_length: Option<u32>,
    /// `listen_overflow`: connections that wait to be accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog: Option<u32>,
    /// `listen_overflow`: how many may wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog_limit: Option<u32>,
    /// Inode number of the network namespace, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<u32>,
    /// Owner's thread id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tid: Option<u32>,
    /// Name of the owner's process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Owner's user id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Path of the owner's executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Arguments of the owner, in one line, in quotes where an end would not be clear. At most 512 bytes of them are
    /// kept: `…` ends one that was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
    /// Parent of the owner, the parent's parent, … at most eight: each as it was when it made the next.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<Ancestor>,
    /// Systemd service or scope that the owner runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Container of the owner: its runtime's id, or the name of an LXC container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// Kubernetes pod of the owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
}
