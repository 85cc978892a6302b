//! What may be asked. The same names as JSON members of a POST and as query parameters of a GET.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Parameters of the two summaries. Unknown members are ignored; all given conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SummaryRequest {
    /// Process id; absent or 0 for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Exact name of the process or thread; absent or empty for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Another name for `command`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_name: Option<String>,
    /// Length of the window that ends now, in seconds; absent or 0 for 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<i64>,
    /// Another name for `duration_seconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<i64>,
}

/// Parameters of the two lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListRequest {
    /// Process id; absent or 0 for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Exact name of the process or thread; absent or empty for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Another name for `command`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_name: Option<String>,
    /// Length of the window that ends now, in seconds; absent or 0 for 3600. Not together with `since`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<i64>,
    /// Another name for `duration_seconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<i64>,
    /// First moment, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Last moment, RFC 3339; absent for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Most events to return, 1 to 10,000; absent or 0 for 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
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
