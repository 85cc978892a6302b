//! Which keys an object has, of which JSON type and of which of Go's widths.

use serde_json::Value;

/// What a value must be for the Go client to decode it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Is {
    Text,
    Flag,
    U8,
    U16,
    U32,
    U64,
    I32,
    /// RFC 3339 with an offset.
    Time,
    /// 16 hexadecimal digits.
    Id,
    /// An array of 16 bytes as numbers, not base64.
    SixteenBytes,
    Object,
    Array,
}

impl Is {
    fn holds(self, value: &Value) -> bool {
        let within = |most: u64| value.as_u64().is_some_and(|number| number <= most);
        match self {
            Self::Text => value.is_string(),
            Self::Flag => value.is_boolean(),
            Self::U8 => within(u8::MAX.into()),
            Self::U16 => within(u16::MAX.into()),
            Self::U32 => within(u32::MAX.into()),
            Self::U64 => within(u64::MAX),
            Self::I32 => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            Self::Time => value
                .as_str()
                .is_some_and(|text| text.contains('T') && text.parse::<jiff::Timestamp>().is_ok()),
            Self::Id => value.as_str().is_some_and(|text| {
                text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            }),
            Self::SixteenBytes => value
                .as_array()
                .is_some_and(|bytes| bytes.len() == 16 && bytes.iter().all(|byte| Self::U8.holds(byte))),
            Self::Object => value.is_object(),
            Self::Array => value.is_array(),
        }
    }
}

pub(crate) type Keys = &'static [(&'static str, Is)];

/// Every key of `always` is there, those of `maybe` may be, no other is, and each is what it must be.
#[track_caller]
pub(crate) fn assert_shape(value: &Value, always: &[Keys], maybe: Keys) {
    let object = value.as_object().unwrap();
    let always = always.iter().copied().flatten();
    for (key, is) in always.clone() {
        let value = object.get(*key).unwrap_or_else(|| panic!("{key} is missing in {object:?}"));
        assert!(is.holds(value), "{key}: {value} is no {is:?}");
    }
    for (key, value) in object {
        if let Some((_, is)) = maybe.iter().find(|(name, _)| name == key) {
            assert!(is.holds(value), "{key}: {value} is no {is:?}");
        } else {
            assert!(always.clone().any(|(name, _)| name == key), "{key} is not in the contract");
        }
    }
}

/// 1.2
pub(crate) const SUMMARY: Keys = &[
    ("command", Is::Text),
    ("count", Is::U64),
    ("duration_seconds", Is::U64),
    ("pid", Is::U32),
    ("query_time", Is::Time),
];
/// Its superset, the names of the generation before among them.
pub(crate) const CONNECTION_SUMMARY_TOO: Keys = &[
    ("total_attempts", Is::U64),
    ("duration", Is::U64),
    ("message", Is::Text),
    ("outcomes", Is::Object),
    ("inbound", Is::U64),
    ("lost", Is::Object),
];
pub(crate) const DROP_SUMMARY_TOO: Keys = &[
    ("total_drops", Is::U64),
    ("duration", Is::U64),
    ("message", Is::Text),
    ("reasons", Is::Object),
    ("classes", Is::Object),
    ("unclassified_at", Is::Array),
    ("sampled", Is::Object),
    ("lost", Is::Object),
];

/// 1.3
pub(crate) const LIST: Keys = &[
    ("events_by_pid", Is::Object),
    ("query_time", Is::Time),
    ("total_events", Is::U64),
    ("total_pids", Is::U64),
];
pub(crate) const LIST_TOO: Keys = &[("total_count", Is::U64), ("truncated", Is::Flag), ("lost", Is::Object)];
/// Of what is also counted in the kernel.
pub(crate) const SAMPLED: Keys = &[("sampled", Is::Object)];
/// Of a list that goes on.
pub(crate) const GOES_ON: Keys = &[("next_cursor", Is::Text)];

/// 1.4
pub(crate) const EVENTS: Keys = &[
    ("events", Is::Array),
    ("count", Is::U64),
    ("total_count", Is::U64),
    ("query_time", Is::Time),
    ("filters", Is::Object),
];
/// 1.5
pub(crate) const PROGRAMS: Keys =
    &[("programs", Is::Array), ("total_count", Is::U64), ("query_time", Is::Time)];
pub(crate) const PROGRAM: Keys =
    &[("name", Is::Text), ("type", Is::Text), ("status", Is::Text), ("id", Is::U32)];
pub(crate) const PROGRAM_TOO: Keys = &[
    ("rung", Is::Text),
    ("note", Is::Text),
    ("refused", Is::Array),
    ("remarks", Is::Array),
    ("check", Is::Text),
];
/// 1.1, and the generation before.
pub(crate) const HEALTH: Keys = &[
    ("status", Is::Text),
    ("component", Is::Text),
    ("uptime", Is::Text),
    ("version", Is::Text),
    ("running", Is::Flag),
    ("time", Is::Time),
];
pub(crate) const HEALTH_TOO: Keys = &[("programs", Is::Array), ("lost", Is::Object)];
pub(crate) const LOST: Keys = &[("lost", Is::Object)];

/// 2
pub(crate) const EVENT: Keys = &[
    ("id", Is::Id),
    ("type", Is::Text),
    ("pid", Is::U32),
    ("command", Is::Text),
    ("timestamp", Is::U64),
    ("time", Is::Time),
];
/// 2.1
pub(crate) const CONNECTION: Keys = &[
    ("return_code", Is::I32),
    ("destination_ip", Is::Text),
    ("destination_port", Is::U16),
    ("destination", Is::Text),
    ("address_family", Is::U16),
    ("protocol", Is::Text),
    ("socket_type", Is::Text),
    ("raw_ipv4", Is::U32),
    ("raw_ipv6", Is::SixteenBytes),
    ("raw_protocol", Is::U8),
    ("raw_socktype", Is::U8),
];
pub(crate) const CONNECTION_TOO: Keys = &[
    ("direction", Is::Text),
    ("outcome", Is::Text),
    ("stage", Is::Text),
    ("errno", Is::U32),
    ("errno_name", Is::Text),
    ("latency_us", Is::U64),
    ("source_ip", Is::Text),
    ("source_port", Is::U16),
    ("source", Is::Text),
    ("tid", Is::U32),
    ("process", Is::Text),
    ("uid", Is::U32),
    ("exe", Is::Text),
    ("cmdline", Is::Text),
    ("parents", Is::Array),
    ("unit", Is::Text),
    ("container_id", Is::Text),
    ("pod_uid", Is::Text),
    ("cgroup_id", Is::U64),
    ("netns", Is::U32),
    ("ending", Is::Text),
    ("duration_us", Is::U64),
];
/// 2.2
pub(crate) const DROP: Keys = &[
    ("drop_reason", Is::Text),
    ("reason", Is::Text),
    ("drop_reason_code", Is::U32),
    ("skb_length", Is::U32),
    ("packet_size_bytes", Is::U32),
];
pub(crate) const DROP_TOO: Keys = &[
    ("attribution", Is::Text),
    ("location", Is::Text),
    ("protocol", Is::Text),
    ("raw_protocol", Is::U8),
    ("source_ip", Is::Text),
    ("source_port", Is::U16),
    ("source", Is::Text),
    ("destination_ip", Is::Text),
    ("destination_port", Is::U16),
    ("destination", Is::Text),
    ("ether_type", Is::U16),
    ("class", Is::Text),
    ("explanation", Is::Text),
    ("direction", Is::Text),
    ("interface_index", Is::U32),
    ("interface", Is::Text),
    ("netns", Is::U32),
    ("tid", Is::U32),
    ("process", Is::Text),
    ("uid", Is::U32),
    ("exe", Is::Text),
];

/// Retransmissions, RSTs, full listen queues.
pub(crate) const TROUBLE: Keys = &[("attribution", Is::Text), ("protocol", Is::Text)];
pub(crate) const TROUBLE_TOO: Keys = &[
    ("source_ip", Is::Text),
    ("source_port", Is::U16),
    ("source", Is::Text),
    ("destination_ip", Is::Text),
    ("destination_port", Is::U16),
    ("destination", Is::Text),
    ("reason", Is::Text),
    ("segment_length", Is::U32),
    ("backlog", Is::U32),
    ("backlog_limit", Is::U32),
    ("netns", Is::U32),
    ("tid", Is::U32),
    ("process", Is::Text),
    ("uid", Is::U32),
    ("exe", Is::Text),
    ("cmdline", Is::Text),
    ("parents", Is::Array),
    ("unit", Is::Text),
    ("container_id", Is::Text),
    ("pod_uid", Is::Text),
];

/// The shape that an event of its type must have.
#[track_caller]
pub(crate) fn assert_event(event: &Value) {
    match event["type"].as_str().unwrap() {
        "connection" => assert_shape(event, &[EVENT, CONNECTION], CONNECTION_TOO),
        "packet_drop" => assert_shape(event, &[EVENT, DROP], DROP_TOO),
        "retransmit" | "reset_sent" | "reset_received" | "listen_overflow" => {
            assert_shape(event, &[EVENT, TROUBLE], TROUBLE_TOO);
        }
        other => panic!("an event of type {other}"),
    }
}
