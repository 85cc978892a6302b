//! What may be asked. The same names as JSON members of a POST and as query parameters of a GET.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Conditions on events; all given ones must hold. An absent or empty one is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Conditions {
    /// Another name for `command`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Exact path of the executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// User id in the initial user namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 4_294_967_295_u32))]
    pub uid: Option<u32>,
    /// Systemd unit that the process runs in; `nginx` stands for `nginx.service`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Container of the process: its id or the first 12 or more digits of it, or its name (LXC).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// `outbound` or `inbound` connections; `received`, `sent` or `forwarded` packets that were dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^(outbound|inbound|received|sent|forwarded)?$"))]
    pub direction: Option<String>,
    /// Protocol by name, such as `tcp`, `udp`, `icmp` or `unix`, or its IP protocol number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "protocol")]
    pub protocol: Option<String>,
    /// Family of the socket: `inet`, `inet6`, `unix` or its `AF_*` number. A v4-mapped address is `inet6`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "family")]
    pub family: Option<String>,
    /// Address of this machine's end, or a network such as `10.0.0.0/8` that it is in. A dropped packet matches with
    /// either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"10.0.0.0/8")]
    pub local: Option<String>,
    /// Port of this machine's end, or a range such as `8000-8999`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "port")]
    pub local_port: Option<String>,
    /// Address of the other end, or a network such as `2001:db8::/32` that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"10.0.0.0/8")]
    pub remote: Option<String>,
    /// Port of the other end, or a range.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "port")]
    pub remote_port: Option<String>,
    /// Outcomes of connections, separated by commas: `pending`, `unanswered`, `established`, `refused`, `reset`,
    /// `timed_out`, `unreachable`, `aborted`, `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = OUTCOMES), example = &"refused,timed_out")]
    pub outcome: Option<String>,
    /// Errno of a connection that failed: its name, such as `ECONNREFUSED`, or its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "errno")]
    pub errno: Option<String>,
    /// The kernel's name for why it dropped a packet or sent a RST, such as `NO_SOCKET`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_reason: Option<String>,
}

/// Parameters of the two summaries. Unknown members are ignored; all given conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SummaryRequest {
    /// Process id; absent or 0 for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 4_294_967_295_u32))]
    pub pid: Option<u32>,
    /// Exact name of the process or thread; absent or empty for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Another name for `command`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_name: Option<String>,
    /// Length of the window in seconds; absent or 0 for 60. Not together with `since`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 315_360_000))]
    pub duration_seconds: Option<i64>,
    /// Another name for `duration_seconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 315_360_000))]
    pub duration: Option<i64>,
    /// First moment: RFC 3339, or how long ago, such as `90s`, `10m`, `2h` or `7d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = WHEN), example = &"10m")]
    pub since: Option<String>,
    /// Last moment, likewise; absent for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = WHEN), example = &"10m")]
    pub until: Option<String>,
    /// The rest.
    #[serde(flatten)]
    pub conditions: Conditions,
}

/// Parameters of the two lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListRequest {
    /// Process id; absent or 0 for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 4_294_967_295_u32))]
    pub pid: Option<u32>,
    /// Exact name of the process or thread; absent or empty for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Another name for `command`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_name: Option<String>,
    /// Length of the window in seconds; absent or 0 for 3600 (`/api/events`: everything that is kept). Not together
    /// with `since`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 315_360_000))]
    pub duration_seconds: Option<i64>,
    /// Another name for `duration_seconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 315_360_000))]
    pub duration: Option<i64>,
    /// First moment: RFC 3339, or how long ago, such as `90s`, `10m`, `2h` or `7d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = WHEN), example = &"10m")]
    pub since: Option<String>,
    /// Last moment, likewise; absent for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = WHEN), example = &"10m")]
    pub until: Option<String>,
    /// Most events to return, 1 to 10,000; absent or 0 for 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 10_000))]
    pub limit: Option<u32>,
    /// Where to go on: `next_cursor` of the answer before, with the same conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9a-f]{16}\.[a-z_]+\.[0-9a-f]{16})?$"))]
    pub cursor: Option<String>,
    /// The rest.
    #[serde(flatten)]
    pub conditions: Conditions,
}

/// Parameters of `/api/events`: those of the lists, and the type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EventsRequest {
    /// `connection`, `packet_drop`, `retransmit`, `reset_sent`, `reset_received` or `listen_overflow`; absent or
    /// empty for all, anything else matches nothing.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// The rest.
    #[serde(flatten)]
    pub list: ListRequest,
}

/// Parameters of `/api/stream`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StreamRequest {
    /// As of `/api/events`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Process id; absent or 0 for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 4_294_967_295_u32))]
    pub pid: Option<u32>,
    /// Exact name of the process or thread; absent or empty for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Begin with events of the past, since this moment: RFC 3339, or how long ago; absent for the present alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = WHEN), example = &"10m")]
    pub since: Option<String>,
    /// End at this moment, likewise; absent for never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = WHEN), example = &"10m")]
    pub until: Option<String>,
    /// The rest.
    #[serde(flatten)]
    pub conditions: Conditions,
}

/// Parameters of `/api/top`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TopRequest {
    /// `connection` or `packet_drop`; absent for `connection`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^(connection|packet_drop)?$"))]
    pub event_type: Option<String>,
    /// `process`, `exe`, `uid`; of connections also `destination`, `destination_ip`, `destination_port`, `outcome`; of
    /// drops also `drop_reason`. Absent for `process`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = BY))]
    pub by: Option<String>,
    /// Most groups to return, 1 to 1,000; absent or 0 for 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000))]
    pub limit: Option<u32>,
    /// Exact name of the process or thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Exact path of the executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// User id in the initial user namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 4_294_967_295_u32))]
    pub uid: Option<u32>,
    /// `outbound` or `inbound` connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^(outbound|inbound)?$"))]
    pub direction: Option<String>,
    /// Outcomes of connections, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = OUTCOMES), example = &"refused,timed_out")]
    pub outcome: Option<String>,
    /// The kernel's name for why it dropped a packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_reason: Option<String>,
    /// Length of the window in seconds; absent or 0 for 3600. Not together with `since`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 315_360_000))]
    pub duration_seconds: Option<i64>,
    /// First moment: RFC 3339, or how long ago, such as `90s`, `10m`, `2h` or `7d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = WHEN), example = &"10m")]
    pub since: Option<String>,
    /// Last moment, likewise; absent for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = WHEN), example = &"10m")]
    pub until: Option<String>,
}

/// A moment, as far as a pattern can tell.
const WHEN: &str = r"^([0-9]{1,6}[smhdw]|[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))$";
const OUTCOMES: &str = "^((pending|unanswered|established|refused|reset|timed_out|unreachable|aborted|failed)(,(pending|unanswered|established|refused|reset|timed_out|unreachable|aborted|failed))*)?$";
const BY: &str = "^(process|exe|uid|destination|destination_ip|destination_port|outcome|drop_reason)?$";

/// Both `443` and `"443"` in JSON.
fn port(_: &mut SchemaGenerator) -> Schema {
    name_or_number("^([0-9]{1,5}(-[0-9]{1,5})?)?$", 0, 65_535, "8000-8999")
}

fn protocol(_: &mut SchemaGenerator) -> Schema {
    name_or_number("^([A-Za-z]+6?|[0-9]{1,3})?$", 0, 255, "udp")
}

fn family(_: &mut SchemaGenerator) -> Schema {
    name_or_number("^(inet|inet6|ipv4|ipv6|unix|[0-9]{1,5})?$", 1, 65_535, "inet6")
}

fn errno(_: &mut SchemaGenerator) -> Schema {
    name_or_number("^(E[A-Z]+|[0-9]{1,4})?$", 1, 4_095, "ECONNREFUSED")
}

fn name_or_number(pattern: &str, least: u32, most: u32, example: &str) -> Schema {
    json_schema!({
        "type": ["string", "integer", "null"],
        "pattern": pattern,
        "minimum": least,
        "maximum": most,
        "examples": [example],
    })
}
