//! What an answer holds.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::Event;

/// How many events the window of this answer is missing. All zero: what you see is all there was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Lost {
    /// Events lost at any place.
    pub total: u64,
    /// The same by place, such as `events_ring_full`; places without loss are absent.
    pub by_place: BTreeMap<String, u64>,
    /// The same by event (a name of `/api/programs`), as far as the place knows what it lost; the sum may be less
    /// than `total`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub by_kind: BTreeMap<String, u64>,
}

/// In a flood of drops or other trouble not every event has a record, but each is counted: how many of the
/// window there were, and how many of them can be listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sampled {
    /// Events that match: an exact number.
    pub counted: u64,
    /// Of these, events with a record of their own.
    pub recorded: u64,
    /// Further events without a record of which any may match: a pid or name was asked for, and whose they are is not
    /// known; or an address, which is not known of them.
    pub unattributed: u64,
}

/// Drops at one place in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Location {
    /// Kernel code that dropped them: `symbol+0xoffset`.
    pub location: String,
    /// The kernel's name for the reason.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// Answer of `/api/connection-summary`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConnectionSummary {
    /// The name that was asked for, or empty.
    pub command: String,
    /// Attempts in the window.
    pub count: u64,
    /// Length of the window in seconds.
    pub duration_seconds: i64,
    /// The pid that was asked for, or 0.
    pub pid: u32,
    /// When the window ends, RFC 3339, whole seconds, in the server's zone.
    pub query_time: String,

    /// `count` under its earlier name.
    pub total_attempts: u64,
    /// `duration_seconds` under its earlier name.
    pub duration: i64,
    /// The answer as a sentence.
    pub message: String,
    /// Attempts by outcome; outcomes that did not occur are absent.
    #[serde(deserialize_with = "null_is_default")]
    pub outcomes: BTreeMap<String, u64>,
    /// Connections that peers made to these processes; not part of `count`.
    pub inbound: u64,
    /// What the window is missing; absent in answers of the earlier server.
    pub lost: Option<Lost>,
}

/// Answer of `/api/packet-drop-summary`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DropSummary {
    /// The name that was asked for, or empty.
    pub command: String,
    /// Drops in the window.
    pub count: u64,
    /// Length of the window in seconds.
    pub duration_seconds: i64,
    /// The pid that was asked for, or 0.
    pub pid: u32,
    /// When the window ends, RFC 3339, whole seconds, in the server's zone.
    pub query_time: String,

    /// `count` under its earlier name.
    pub total_drops: u64,
    /// `duration_seconds` under its earlier name.
    pub duration: i64,
    /// The answer as a sentence.
    pub message: String,
    /// Drops by reason.
    #[serde(deserialize_with = "null_is_default")]
    pub reasons: BTreeMap<String, u64>,
    /// Drops by class: `harmful`, `expected`, `unclassified`; classes that did not occur are absent.
    #[serde(deserialize_with = "null_is_default")]
    pub classes: BTreeMap<String, u64>,
    /// Where in the kernel the unclassified ones were dropped, most first, at most 20 places.
    #[serde(deserialize_with = "null_is_default")]
    pub unclassified_at: Vec<Location>,
    /// How many of them have a record; absent in answers of the earlier server.
    pub sampled: Option<Sampled>,
    /// What the window is missing; absent in answers of the earlier server.
    pub lost: Option<Lost>,
}

/// Answer of `/api/list-connections` and `/api/list-packet-drops`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, bound(deserialize = "T: Deserialize<'de>"))]
pub struct EventsByPid<T> {
    /// Events by decimal pid, each newest first.
    // v0.0.1 named it after what is listed.
    #[serde(alias = "connections", alias = "drops", deserialize_with = "null_lists_are_empty")]
    pub events_by_pid: BTreeMap<String, Vec<T>>,
    /// When the window ends, RFC 3339, whole seconds, in the server's zone.
    pub query_time: String,
    /// Events returned.
    pub total_events: u64,
    /// Pids returned.
    pub total_pids: u64,

    /// Events that match, whatever the limit.
    pub total_count: Option<u64>,
    /// Whether the limit left any out after these.
    pub truncated: bool,
    /// If it did: what to ask for as `cursor`, with the same conditions, to get what comes after these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// Drops: how many have a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled: Option<Sampled>,
    /// What the window is missing; absent in answers of the earlier server.
    pub lost: Option<Lost>,
}

impl<T> Default for EventsByPid<T> {
    fn default() -> Self {
        Self {
            events_by_pid: BTreeMap::new(),
            query_time: String::new(),
            total_events: 0,
            total_pids: 0,
            total_count: None,
            truncated: false,
            next_cursor: None,
            sampled: None,
            lost: None,
        }
    }
}

/// Answer of `/api/events`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EventList {
    /// Newest first.
    #[serde(deserialize_with = "null_is_default")]
    pub events: Vec<Event>,
    /// Events returned.
    pub count: u64,
    /// Events that match, whatever the limit.
    pub total_count: u64,
    /// If there are more after these: what to ask for as `cursor`, with the same conditions, to get them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// When the window ends, RFC 3339, whole seconds, in the server's zone.
    pub query_time: String,
    /// The conditions as they were understood.
    pub filters: BTreeMap<String, serde_json::Value>,
    /// How many of the events other than connections have a record.
    pub sampled: Option<Sampled>,
    /// What the window is missing.
    pub lost: Option<Lost>,
}

/// Answer of `/api/top`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TopList {
    /// `connection` or `packet_drop`: what is counted.
    #[serde(rename = "type")]
    pub event_type: String,
    /// What they are grouped by.
    pub by: String,
    /// Those of most events first.
    pub groups: Vec<TopGroup>,
    /// When the window begins, RFC 3339: with a whole minute; beyond the retention of the minutes, with a whole hour.
    pub since: String,
    /// When it ends, RFC 3339, whole seconds, in the server's zone.
    pub query_time: String,
    /// What the window is missing.
    pub lost: Option<Lost>,
}

/// Events that have something in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TopGroup {
    /// What: a name, path, number, address or `address:port`; absent where it is not known, and for `others`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whether it is the sum of groups that were too many to be kept apart.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub others: bool,
    /// Of a destination or port: the IP protocol by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// How many events.
    pub count: u64,
    /// Connections: payload sent, in bytes.
    pub bytes_sent: u64,
    /// Connections: payload received, in bytes.
    pub bytes_received: u64,
}

/// One traced event and how it is traced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Program {
    /// `connection`, `accept`, or a type of event.
    pub name: String,
    /// `eBPF`.
    #[serde(rename = "type")]
    pub program_type: String,
    /// `active` or `inactive`.
    pub status: String,
    /// First four bytes, big-endian, of SHA-256 of the name.
    pub id: u32,
    /// `kprobe`, `tracepoint`, `replay` or `none`.
    pub rung: String,
    /// Why no better rung was taken, what is missing and what the check at start said, in one line; empty where
    /// there is nothing to say.
    pub note: String,
    /// The better rungs, best first.
    pub refused: Vec<RefusedRung>,
    /// What is missing on the rung that was taken.
    pub remarks: Vec<String>,
    /// Whether what the programs reported of the server's own connections at start was right: `passed`; `undone`
    /// (it could not be compared); `failed` (the event was disabled); `none` (there was nothing to compare).
    pub check: String,
}

/// A rung that an event does not stand on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RefusedRung {
    /// `kprobe`, `fentry` or `tracepoint`.
    pub rung: String,
    /// Why not.
    pub reason: String,
    /// What would change that.
    pub remedy: String,
}

/// Answer of `/api/programs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Programs {
    /// One per traced event.
    #[serde(deserialize_with = "null_is_default")]
    pub programs: Vec<Program>,
    /// How many.
    pub total_count: u64,
    /// RFC 3339, whole seconds, in the server's zone.
    pub query_time: String,
    /// Losses of the last hour.
    pub lost: Option<Lost>,
}

/// Answer of `/health`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Health {
    /// `healthy`; `degraded` when an event cannot be traced. A store that fails answers 503.
    pub status: String,
    /// `eBPF Monitor API`; `aggregator` from an aggregator.
    pub component: String,
    /// The literal word `active`, as it always was.
    pub uptime: String,
    /// Version of the server.
    pub version: String,
    /// Whether every event is traced.
    pub running: bool,
    /// RFC 3339, whole seconds, in the server's zone.
    pub time: String,
    /// One per traced event.
    pub programs: Vec<Program>,
    /// Losses of the last hour.
    pub lost: Option<Lost>,
}

/// Answer of `/livez`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Liveness {
    /// `alive`.
    pub status: String,
}

/// Answer of `/readyz`: with status 200 if it is ready, otherwise with 503.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Readiness {
    /// Whether what the server answers is complete.
    pub ready: bool,
    /// What was looked at: `recording` (the kernel's records are read and written), `history` (it can be read), `probes`
    /// (what was attached still is).
    pub checks: Vec<ReadinessCheck>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ReadinessCheck {
    /// What.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// If not: what is wrong and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Data of an event `lagged` of `/api/stream`: so much came that this client was not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Lagged {
    /// Changes of events that were not looked at for this client, whether they match or not; of the past, events that
    /// match.
    pub missed: u64,
    /// What to send as `Last-Event-ID` to get them from the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_event_id: Option<String>,
    /// What to do, in a sentence.
    pub message: String,
}

/// Body of every answer that is not a success: the members of RFC 9457, and those of the earlier netspy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ErrorBody {
    /// `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// Text of the status code, such as `Bad Request`.
    pub title: String,
    /// The status code.
    pub status: u16,
    /// What was wrong and what to send instead.
    pub detail: String,
    /// `title` under its earlier name.
    pub error: String,
    /// `detail` under its earlier name.
    pub message: String,
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

fn null_lists_are_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> Result<BTreeMap<String, Vec<T>>, D::Error> {
    let lists: Option<BTreeMap<String, Option<Vec<T>>>> = Option::deserialize(d)?;
    Ok(lists.unwrap_or_default().into_iter().map(|(pid, list)| (pid, list.unwrap_or_default())).collect())
}

/// Who waits for connections or datagrams at one address or path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListeningSocket {
    /// A process that has the socket open (the lowest pid of several); 0 where none could be seen.
    pub pid: u32,
    /// Its name.
    pub process: String,
    /// `TCP`, `UDP` or `UNIX`.
    pub protocol: String,
    /// Local address; unspecified (`0.0.0.0`, `::`) for all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Local port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `UNIX`: its path; an abstract name begins with `@`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Connections that wait to be accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog: Option<u32>,
    /// How many may wait; further ones are refused or ignored by the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog_limit: Option<u32>,
    /// Inode number of the network namespace.
    pub netns: u32,
}

/// Answer of `/api/listeners`: the state at the moment of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Listeners {
    /// How many there are.
    pub count: u64,
    /// Each of them.
    pub listeners: Vec<ListeningSocket>,
    /// RFC 3339, whole seconds, in the server's zone.
    pub query_time: String,
}
