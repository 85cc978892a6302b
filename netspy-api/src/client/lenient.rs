//! What the earlier servers write differently, rewritten as it is written now.

use serde_json::{Map, Value};

/// Nulls are defaults, whole floats are integers, and a `timestamp` in words is the `time`.
pub(super) fn read(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(with_time(
            map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, read(v))).collect(),
        )),
        Value::Array(list) => list.into_iter().filter(|v| !v.is_null()).map(read).collect(),
        Value::Number(number) if number.is_f64() => match number.as_f64() {
            Some(f) if f.fract() == 0.0 && (0.0..1.8e19).contains(&f) => Value::from(f as u64),
            _ => Value::Number(number),
        },
        other => other,
    }
}

/// Events of v0.0.1 have one moment, RFC 3339, where there are nanoseconds since boot now.
fn with_time(mut map: Map<String, Value>) -> Map<String, Value> {
    if map.get("timestamp").is_some_and(Value::is_string)
        && let Some(moment) = map.remove("timestamp")
    {
        map.entry("time").or_insert(moment);
    }
    map
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nulls_vanish_and_whole_floats_are_integers() {
        let read = read(json!({"a": null, "b": [null, 3e3], "c": {"d": null, "e": 0.5}}));
        assert_eq!(read, json!({"b": [3000], "c": {"e": 0.5}}));
    }

    #[test]
    fn a_moment_in_words_is_the_time() {
        let moment = "2025-07-31T10:00:00Z";
        assert_eq!(read(json!({"timestamp": moment, "pid": 1})), json!({"time": moment, "pid": 1}));
        assert_eq!(read(json!({"timestamp": 5.0})), json!({"timestamp": 5}));
    }
}
