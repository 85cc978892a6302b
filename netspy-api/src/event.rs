//! The event objects.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Any event, told apart by its `type`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
pub enum Event {
    /// A process asked for an outbound connection.
    #[serde(rename = "connection")]
    Connection(ConnectionEvent),
    /// The kernel dropped a packet.
    #[serde(rename = "packet_drop")]
    PacketDrop(DropEvent),
}

/// One outbound connection and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConnectionEvent {
    /// 16 hexadecimal digits.
    pub id: String,
    /// Process id (tgid).
    pub pid: u32,
    /// Name of the thread that connected (kernel `comm`, at most 15 bytes).
    pub command: String,
    /// Nanoseconds since boot (`CLOCK_MONOTONIC`) when the attempt began.
    pub timestamp: u64,
    /// The same moment, RFC 3339, in the server's zone.
    pub time: String,
    /// 0, or the negated errno with which the attempt failed.
    pub return_code: i32,
    /// Remote address; v4-mapped IPv6 as IPv4; empty where the call named none.
    pub destination_ip: String,
    /// Remote port.
    pub destination_port: u16,
    /// `ip:port` or `[v6]:port`; empty where the call named none.
    pub destination: String,
    /// Raw `AF_*` number of the socket.
    pub address_family: u16,
    /// `TCP`.
    pub protocol: String,
    /// `STREAM`.
    pub socket_type: String,
    /// Remote IPv4 address: its network-order bytes read little-endian; 0 for IPv6.
    pub raw_ipv4: u32,
    /// Remote IPv6 address: 16 bytes; zeroes for IPv4.
    pub raw_ipv6: Vec<u8>,
    /// IP protocol number.
    pub raw_protocol: u8,
    /// `SOCK_*` number.
    pub raw_socktype: u8,

    /// `outbound`.
    pub direction: String,
    /// `pending`, `established`, `refused`, `reset`, `timed_out`, `unreachable`, `aborted` or `failed`.
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
    /// Microseconds from the call to the outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// Local address, once the kernel has chosen it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<String>,
    /// Local port, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Local `ip:port`, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Thread id.
    pub tid: u32,
    /// Name of the process (its first thread's `comm`).
    pub process: String,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// Path of the executable, where it could be read from the very same process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Id of the cgroup in the unified hierarchy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_id: Option<u64>,
    /// Inode number of the network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<u32>,
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
    /// Interface index, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface_index: Option<u32>,
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
}
