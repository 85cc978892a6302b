//! What may be asked of a tool, and what a mistake is told.
//!
//! Every value is checked here and nowhere else. 0, the empty name and null mean that nothing was asked for.

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::render::Subject;

/// The server answers no more at once.
pub(super) const MOST_EVENTS: u32 = 10_000;
const DEFAULT_EVENTS: u32 = 10;
const DEFAULT_DURATION: u32 = 60;
/// A year; history is kept for days.
const LONGEST_DURATION: u32 = 366 * 24 * 3600;
/// The longest name of a file; names of processes end at 15 bytes, and the server knows.
const LONGEST_NAME: usize = 255;

/// Arguments of the tools that count over a window.
#[derive(Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(description = "All conditions must hold.")]
pub(super) struct WindowArguments {
    /// Only this process id; 0 for any.
    #[serde(deserialize_with = "pid")]
    pub(super) pid: u32,
    /// Only processes or threads of exactly this name; empty for any.
    #[serde(deserialize_with = "process_name")]
    pub(super) process_name: String,
    /// Seconds to look back.
    #[serde(deserialize_with = "duration")]
    #[schemars(range(min = 0, max = LONGEST_DURATION))]
    pub(super) duration: u32,
}

/// Arguments of the tools that list events.
#[derive(Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(description = "All conditions must hold.")]
pub(super) struct ListArguments {
    /// Only this process id; 0 for any.
    #[serde(deserialize_with = "pid")]
    pub(super) pid: u32,
    /// Only processes or threads of exactly this name; empty for any.
    #[serde(deserialize_with = "process_name")]
    pub(super) process_name: String,
    /// Most events to return, newest first.
    #[serde(deserialize_with = "max_events")]
    #[schemars(range(min = 0, max = MOST_EVENTS))]
    pub(super) max_events: u32,
}

impl Default for WindowArguments {
    fn default() -> Self {
        Self { pid: 0, process_name: String::new(), duration: DEFAULT_DURATION }
    }
}

impl Default for ListArguments {
    fn default() -> Self {
        Self { pid: 0, process_name: String::new(), max_events: DEFAULT_EVENTS }
    }
}

impl WindowArguments {
    pub(super) fn subject(&self) -> Subject<'_> {
        Subject { pid: self.pid, name: &self.process_name }
    }
}

impl ListArguments {
    pub(super) fn subject(&self) -> Subject<'_> {
        Subject { pid: self.pid, name: &self.process_name }
    }
}

fn pid<'de, D: Deserializer<'de>>(source: D) -> Result<u32, D::Error> {
    whole(source, "pid takes a process id", u32::MAX, 0)
}

fn duration<'de, D: Deserializer<'de>>(source: D) -> Result<u32, D::Error> {
    whole(source, "duration takes seconds", LONGEST_DURATION, DEFAULT_DURATION)
}

fn max_events<'de, D: Deserializer<'de>>(source: D) -> Result<u32, D::Error> {
    whole(source, "max_events takes a count", MOST_EVENTS, DEFAULT_EVENTS)
}

fn whole<'de, D: Deserializer<'de>>(source: D, what: &str, most: u32, unsaid: u32) -> Result<u32, D::Error> {
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
        Some(0) => Ok(unsaid),
        Some(n) if n <= most => Ok(n),
        _ => Err(D::Error::custom(format!("{what}: a whole number from 0 to {most}, not {value}"))),
    }
}

fn process_name<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    match Value::deserialize(source)? {
        Value::Null => Ok(String::new()),
        Value::String(name) if name.len() <= LONGEST_NAME => Ok(name),
        Value::String(name) => {
            let length = name.len();
            Err(D::Error::custom(format!(
                "process_name takes a name of at most {LONGEST_NAME} bytes, not {length}"
            )))
        }
        other => Err(D::Error::custom(format!("process_name takes a name, such as \"curl\", not {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn mistake(arguments: Value) -> String {
        from_value::<WindowArguments>(arguments).unwrap_err().to_string()
    }

    #[test]
    fn nothing_zero_empty_and_null_are_the_defaults() {
        for unsaid in [
            json!({}),
            json!({"pid": 0, "process_name": "", "duration": 0}),
            json!({"pid": null, "process_name": null, "duration": null}),
        ] {
            assert_eq!(from_value::<WindowArguments>(unsaid).unwrap(), WindowArguments::default());
        }
        let list: ListArguments = from_value(json!({"pid": 7.0, "max_events": 10_000})).unwrap();
        assert_eq!((list.pid, list.max_events), (7, 10_000));
    }

    #[test]
    fn mistakes_name_the_argument_and_what_it_takes() {
        assert_eq!(
            mistake(json!({"pid": "x"})),
            "pid takes a process id: a whole number from 0 to 4294967295, not \"x\""
        );
        assert!(mistake(json!({"pid": -1})).contains("not -1"));
        assert!(mistake(json!({"pid": 4_294_967_296_u64})).contains("pid takes"));
        assert!(mistake(json!({"duration": 0.5})).contains("duration takes seconds"));
        assert!(mistake(json!({"duration": -5})).contains("duration takes seconds"));
        assert!(mistake(json!({"process_name": 3})).contains("such as \"curl\", not 3"));
        assert!(mistake(json!({"process_name": "x".repeat(256)})).contains("at most 255 bytes"));
        assert!(
            mistake(json!({"max_events": 3})).contains("unknown field `max_events`, expected one of `pid`")
        );
        let many = from_value::<ListArguments>(json!({"max_events": 10_001})).unwrap_err();
        assert!(many.to_string().contains("from 0 to 10000, not 10001"));
    }
}
