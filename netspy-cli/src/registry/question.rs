//! What may be asked: one vocabulary of arguments for all tools, and what a mistake is told.
//!
//! Every value is checked here and nowhere else. 0, the empty string, false and null mean that nothing was asked for.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::{Tool, ToolError, suggest};
use crate::render::{Subject, escape};

/// The server answers no more at once.
pub(crate) const MOST_EVENTS: u32 = 10_000;
pub(super) const DEFAULT_EVENTS: u32 = 10;
/// Seconds.
pub(super) const DEFAULT_DURATION: u32 = 60;
/// A year; history is kept for days.
const LONGEST_DURATION: u32 = 366 * 24 * 3600;
/// Seconds that `watch_connections` may take.
const LONGEST_WATCH: u32 = 60;
/// What a model may be given in one answer.
const MOST_TOKENS: u32 = 6_000;
/// The longest name of a file; names of processes end at 15 bytes, and the server knows.
const LONGEST_NAME: usize = 255;
/// Bytes of a text for a model.
const LONGEST_TEXT: usize = 4_000;

/// A question to any tool. A tool takes some of these; the rest stay unsaid.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Question {
    /// Process id.
    #[serde(deserialize_with = "pid")]
    pub(crate) pid: u32,
    /// Exact name of the process or thread.
    #[serde(deserialize_with = "process_name")]
    pub(crate) process_name: String,
    /// Remote address or network, such as 10.0.0.0/8.
    #[serde(deserialize_with = "to")]
    #[schemars(with = "String")]
    pub(crate) to: Option<IpNet>,
    /// Remote port.
    #[serde(deserialize_with = "port")]
    pub(crate) port: u16,
    /// Only failures.
    #[serde(deserialize_with = "failed")]
    pub(crate) failed: bool,
    /// outbound or inbound.
    #[serde(deserialize_with = "direction")]
    #[schemars(with = "String")]
    pub(crate) direction: Option<Direction>,
    /// Seconds to look back; 60 if absent.
    #[serde(deserialize_with = "duration")]
    #[schemars(range(min = 0, max = LONGEST_DURATION))]
    pub(crate) duration: u32,
    /// How far to look back: 10m, 2h, 1d, or an RFC 3339 moment.
    #[serde(deserialize_with = "since")]
    #[schemars(with = "String")]
    pub(crate) since: Option<Since>,
    /// Most events to return, newest first.
    #[serde(deserialize_with = "max_events")]
    #[schemars(range(min = 0, max = MOST_EVENTS))]
    pub(crate) max_events: u32,
    /// `next_cursor` of the answer before this one.
    #[serde(deserialize_with = "cursor")]
    #[schemars(with = "String")]
    pub(crate) cursor: Option<Cursor>,
    /// Longest answer; 2000 if absent.
    #[serde(deserialize_with = "max_tokens")]
    #[schemars(range(min = 0, max = MOST_TOKENS))]
    pub(crate) max_tokens: u32,
    /// How long to watch; 10 if absent.
    #[serde(deserialize_with = "seconds")]
    #[schemars(range(min = 0, max = LONGEST_WATCH))]
    pub(crate) seconds: u32,
    /// What another tool answered.
    #[serde(deserialize_with = "summary_text")]
    pub(crate) summary_text: String,
    /// What to find out, in plain words.
    #[serde(deserialize_with = "query")]
    pub(crate) query: String,
}

/// Who began a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The process.
    Outbound,
    /// Its peer.
    Inbound,
}

impl Direction {
    /// As the API and people call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }
}

/// The beginning of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Since {
    /// Seconds before the server's now.
    Ago(u32),
    Moment(Timestamp),
}

/// Where the next page begins: after this event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cursor {
    /// As the server wrote it.
    pub(crate) time: String,
    pub(crate) id: String,
    /// Where the first page's window began.
    pub(crate) since: Timestamp,
}

impl Question {
    /// Reads a question to one tool.
    pub(crate) fn read(tool: &Tool, arguments: Map<String, Value>) -> Result<Self, ToolError> {
        let mistake = |reason: String| ToolError::Arguments { tool: tool.name, reason };
        if let Some(stranger) = arguments.keys().find(|name| !tool.takes(name)) {
            let known = tool.arguments.join(", ");
            let hint = suggest::line(stranger, tool.arguments.iter().copied());
            return Err(mistake(format!("it takes no '{stranger}'{hint}; it takes: {known}")));
        }
        let question: Self =
            serde_json::from_value(Value::Object(arguments)).map_err(|error| mistake(error.to_string()))?;
        if question.duration > 0 && question.since.is_some() {
            return Err(mistake("duration and since both say how far to look back: give one".to_owned()));
        }
        for (name, value) in [("summary_text", &question.summary_text), ("query", &question.query)] {
            if tool.takes(name) && value.trim().is_empty() {
                return Err(mistake(format!("{name} is missing: it takes a text")));
            }
        }
        Ok(question)
    }

    /// Whether these arguments can be understood, whichever tool takes them.
    pub(crate) fn check(arguments: Map<String, Value>) -> Result<(), String> {
        serde_json::from_value::<Self>(Value::Object(arguments))
            .map(|_| ())
            .map_err(|error| error.to_string())
    }

    pub(super) fn subject(&self) -> Subject<'_> {
        Subject { pid: self.pid, name: &self.process_name }
    }

    /// The moment at which the window begins, where the question says it that way.
    pub(super) fn moment(&self) -> Option<Timestamp> {
        if let Some(Since::Moment(moment)) = self.since { Some(moment) } else { None }
    }

    /// The moment at which what is asked for begins: of a later page, as of the first one.
    pub(super) fn start(&self) -> Option<Timestamp> {
        self.cursor.as_ref().map(|cursor| cursor.since).or_else(|| self.moment())
    }

    /// Whether there are conditions that an earlier server does not know: then they are checked here.
    pub(super) fn has_conditions(&self) -> bool {
        self.to.is_some() || self.port != 0 || self.failed || self.direction.is_some()
    }

    /// The window in seconds, where the question says it that way.
    pub(super) fn seconds_back(&self) -> Option<u32> {
        match self.since {
            Some(Since::Ago(seconds)) => Some(seconds),
            Some(Since::Moment(_)) => None,
            None => Some(self.duration).filter(|seconds| *seconds > 0),
        }
    }

    /// Length of the window in words: `60 s`, where nothing is said too.
    pub(crate) fn window_in_words(&self) -> String {
        match (self.seconds_back(), self.since) {
            (Some(seconds), _) => format!("{seconds} s"),
            (None, Some(_)) => "since then".to_owned(),
            (None, None) => format!("{DEFAULT_DURATION} s"),
        }
    }

    /// The conditions beside process and time, as words: ` to 10.0.0.0/8 port 443, failed`.
    pub(super) fn conditions(&self) -> String {
        let to = self.to.map(|net| format!(" to {}", bare(net))).unwrap_or_default();
        let port = if self.port == 0 { String::new() } else { format!(" port {}", self.port) };
        let direction = self.direction.map(|direction| format!(", {}", direction.name())).unwrap_or_default();
        let failed = if self.failed { ", failed" } else { "" };
        format!("{to}{port}{direction}{failed}")
    }
}

/// A single address without its length.
fn bare(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Ok(Since::Moment(moment));
        }
        // A bare number is seconds, as it is for `duration`.
        let span =
            if text.bytes().all(|b| b.is_ascii_digit()) { format!("{text}s") } else { text.to_owned() };
        let seconds = span
            .parse::<jiff::Span>()
            .ok()
            .and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok())
            .map(|length: SignedDuration| length.as_secs());
        match seconds.and_then(|seconds| u32::try_from(seconds).ok()) {
            Some(seconds @ 1..=LONGEST_DURATION) => Ok(Since::Ago(seconds)),
            _ => Err(format!(
                "since takes 30s, 10m, 2h, 1d or a moment such as 2026-11-21T10:00:00Z, not \"{}\"",
                escape::text(text)
            )),
        }
    }
}

impl Cursor {
    pub(crate) fn encode(&self) -> String {
        format!("{}~{}~{}", self.time, self.id, self.since)
    }

    fn decode(text: &str) -> Option<Self> {
        let mut parts = text.split('~');
        let (time, id, since) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
        time.parse::<Timestamp>().ok()?;
        let is_id = !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric());
        let is_whole = is_id && parts.next().is_none();
        is_whole.then(|| Self { time: time.to_owned(), id: id.to_owned(), since })
    }
}

fn pid<'de, D: Deserializer<'de>>(source: D) -> Result<u32, D::Error> {
    whole(source, "pid takes a process id", u32::MAX)
}

fn port<'de, D: Deserializer<'de>>(source: D) -> Result<u16, D::Error> {
    whole(source, "port takes a port", u32::from(u16::MAX)).map(|port| port as u16)
}

fn duration<'de, D: Deserializer<'de>>(source: D) -> Result<u32, D::Error> {
    whole(source, "duration takes seconds", LONGEST_DURATION)
}

fn max_events<'de, D: Deserializer<'de>>(source: D) -> Result<u32, D::Error> {
    whole(source, "max_events takes a count", MOST_EVENTS)
}

fn max_tokens<'de, D: Deserializer<'de>>(source: D) -> Result<u32, D::Error> {
    whole(source, "max_tokens takes a count", MOST_TOKENS)
}

fn seconds<'de, D: Deserializer<'de>>(source: D) -> Result<u32, D::Error> {
    whole(source, "seconds takes how long to watch", LONGEST_WATCH)
}

fn whole<'de, D: Deserializer<'de>>(source: D, what: &str, most: u32) -> Result<u32, D::Error> {
    let value = Value::deserialize(source)?;
    let number = match &value {
        Value::Null => Some(0),
        // Models write 60.0 for 60.
        Value::Number(n) => {
            n.as_u64().or_else(|| n.as_f64().filter(|f| f.fract() == 0.0 && *f >= 0.0).map(|f| f as u64))
        }
        _ => None,
    };
    match number.and_then(|n| u32::try_from(n).ok()) {
        Some(n) if n <= most => Ok(n),
        _ => Err(D::Error::custom(format!("{what}: a whole number from 0 to {most}, not {value}"))),
    }
}

fn failed<'de, D: Deserializer<'de>>(source: D) -> Result<bool, D::Error> {
    match Value::deserialize(source)? {
        Value::Null => Ok(false),
        Value::Bool(failed) => Ok(failed),
        other => Err(D::Error::custom(format!("failed takes true or false, not {other}"))),
    }
}

fn text<'de, D: Deserializer<'de>>(source: D, what: &str, longest: usize) -> Result<String, D::Error> {
    match Value::deserialize(source)? {
        Value::Null => Ok(String::new()),
        Value::String(text) if text.len() <= longest => Ok(text),
        Value::String(text) => {
            let length = text.len();
            Err(D::Error::custom(format!("{what} of at most {longest} bytes, not {length}")))
        }
        other => Err(D::Error::custom(format!("{what}, in quotes, not {other}"))),
    }
}

fn process_name<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    text(source, "process_name takes a name", LONGEST_NAME)
}

fn summary_text<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    text(source, "summary_text takes a text", LONGEST_TEXT)
}

fn query<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    text(source, "query takes a text", LONGEST_TEXT)
}

fn to<'de, D: Deserializer<'de>>(source: D) -> Result<Option<IpNet>, D::Error> {
    let text = text(source, "to takes an address", LONGEST_NAME)?;
    if text.is_empty() {
        return Ok(None);
    }
    let address = text.trim_start_matches('[').trim_end_matches(']');
    let host = || address.parse().ok().map(|host: IpAddr| IpNet::from(host));
    match address.parse().ok().or_else(host) {
        Some(net) => Ok(Some(IpNet::trunc(&net))),
        None => Err(D::Error::custom(format!(
            "to takes an address or a network such as 10.0.0.0/8, not {}",
            Value::from(text)
        ))),
    }
}

fn direction<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Direction>, D::Error> {
    let text = text(source, "direction takes outbound or inbound", LONGEST_NAME)?;
    let known = [Direction::Outbound, Direction::Inbound].into_iter().find(|known| known.name() == text);
    if known.is_some() || text.is_empty() {
        return Ok(known);
    }
    Err(D::Error::custom(format!("direction takes outbound or inbound, not {}", Value::from(text))))
}

fn since<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Since>, D::Error> {
    let text = text(source, "since takes a length or a moment", LONGEST_NAME)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(D::Error::custom) }
}

fn cursor<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Cursor>, D::Error> {
    let text = text(source, "cursor takes the next_cursor of an earlier answer", LONGEST_NAME)?;
    if text.is_empty() {
        return Ok(None);
    }
    Cursor::decode(&text)
        .map(Some)
        .ok_or_else(|| D::Error::custom("cursor takes the next_cursor of an earlier answer, unchanged"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry;

    fn read(tool: &str, arguments: Value) -> Result<Question, String> {
        let Value::Object(map) = arguments else { panic!("{arguments}") };
        Question::read(registry::find(tool).unwrap(), map).map_err(|error| error.to_string())
    }

    fn mistake(arguments: Value) -> String {
        read("list_connections", arguments).unwrap_err()
    }

    #[test]
    fn nothing_zero_empty_and_null_are_unsaid() {
        for unsaid in [
            json!({}),
            json!({"pid": 0, "process_name": "", "duration": 0, "to": "", "failed": false}),
            json!({"pid": null, "process_name": null, "duration": null, "since": null}),
        ] {
            assert_eq!(read("analyze_patterns", unsaid), Ok(Question::default()));
        }
        let list = read("list_connections", json!({"pid": 7.0, "max_events": 10_000})).unwrap();
        assert_eq!((list.pid, list.max_events), (7, 10_000));
    }

    #[test]
    fn filters_are_plain_words() {
        let asked =
            read("list_connections", json!({"to": "10.1.2.3/8", "port": 5432, "since": "10m"})).unwrap();
        assert_eq!(asked.to.unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(
            (asked.port, asked.seconds_back(), asked.conditions().as_str()),
            (5432, Some(600), " to 10.0.0.0/8 port 5432")
        );
        for (text, seconds) in [("90", 90), ("30s", 30), ("2h", 7200), ("1d", 86_400), ("1h30m", 5400)] {
            assert_eq!(text.parse(), Ok(Since::Ago(seconds)), "{text}");
        }
        for address in ["::1", "[::1]", "127.0.0.1"] {
            assert!(read("list_connections", json!({"to": address})).unwrap().to.is_some());
        }
    }

    #[test]
    fn mistakes_name_the_argument_and_what_it_takes() {
        assert_eq!(
            mistake(json!({"pid": "x"})),
            "list_connections: pid takes a process id: a whole number from 0 to 4294967295, not \"x\""
        );
        for (arguments, said) in [
            (json!({"pid": -1}), "not -1"),
            (json!({"pid": 4_294_967_296_u64}), "pid takes"),
            (json!({"port": 65_536}), "from 0 to 65535"),
            (json!({"since": "soon"}), "since takes 30s, 10m"),
            (json!({"since": "-5m"}), "since takes"),
            (json!({"since": "400d"}), "since takes"),
            (json!({"to": "localhost"}), "such as 10.0.0.0/8, not \"localhost\""),
            (json!({"failed": "yes"}), "true or false"),
            (json!({"direction": "both"}), "direction takes outbound or inbound, not \"both\""),
            (json!({"cursor": "abc"}), "unchanged"),
            (json!({"process_name": 3}), "takes a name, in quotes, not 3"),
            (json!({"process_name": "x".repeat(256)}), "at most 255 bytes"),
            (json!({"max_events": 10_001}), "from 0 to 10000, not 10001"),
            (
                json!({"proces_name": "x"}),
                "it takes no 'proces_name'; did you mean process_name?; it takes: pid",
            ),
        ] {
            let text = mistake(arguments.clone());
            assert!(text.contains(said), "{arguments}: {text}");
        }
        let both = read("analyze_patterns", json!({"duration": 5, "since": "5m"})).unwrap_err();
        assert!(both.contains("give one"), "{both}");
    }

    #[test]
    fn a_cursor_survives_its_trip() {
        let cursor = Cursor {
            time: "2026-11-21T04:47:13.000000001+02:00".into(),
            id: "00ab".into(),
            since: Timestamp::UNIX_EPOCH,
        };
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
    }
}
