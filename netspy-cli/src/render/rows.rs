//! An answer in the form that was asked for: text, JSON, or its rows alone, as JSON objects or as CSV.

use serde_json::{Map, Value};

use super::escape;
use crate::output::Format;
use crate::registry::Answer;

/// The whole answer without the last line end; none where rows were asked for and there can be none.
pub(crate) fn written(answer: &Answer, format: Format) -> Option<String> {
    match format {
        Format::Text => Some(answer.text.clone()),
        Format::Json => Some(escape::json(&answer.value)),
        Format::Ndjson => Some(match table(&answer.value) {
            Some((columns, rows)) => lines(rows.iter().map(|row| escape::json(&object(columns, row)))),
            // A count is one row.
            None => escape::json(&answer.value),
        }),
        Format::Csv => {
            let (columns, rows) = table(&answer.value)?;
            let head = columns.iter().map(field).collect::<Vec<_>>().join(",");
            let body = rows
                .iter()
                .map(|row| row.as_array().into_iter().flatten().map(field).collect::<Vec<_>>().join(","));
            Some(lines(std::iter::once(head).chain(body)))
        }
    }
}

fn table(value: &Value) -> Option<(&Vec<Value>, &Vec<Value>)> {
    Some((value.get("columns")?.as_array()?, value.get("rows")?.as_array()?))
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}

fn object(columns: &[Value], row: &Value) -> Value {
    let names = columns.iter().filter_map(Value::as_str).map(str::to_owned);
    let cells = row.as_array().into_iter().flatten().cloned();
    Value::Object(names.zip(cells).collect::<Map<_, _>>())
}

/// What is unknown is empty. What a terminal would obey is spelled out, as it is for people: CSV has no escapes.
fn field(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => escape::text(text).into_owned(),
        other => other.to_string(),
    };
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(value: Value, format: Format) -> Option<String> {
        written(&Answer { text: String::new(), value }, format)
    }

    #[test]
    fn rows_are_objects_or_lines() {
        let table = json!({"columns": ["name", "pid", "errno"], "rows": [["a,\"b\"", 7, null], ["x\n\u{1b}", 8, "E"]]});
        assert_eq!(
            shown(table.clone(), Format::Csv).unwrap(),
            "name,pid,errno\n\"a,\"\"b\"\"\",7,\nx\\x0a\\x1b,8,E"
        );
        let lines = shown(table, Format::Ndjson).unwrap();
        let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!(first, json!({"name": "a,\"b\"", "pid": 7, "errno": null}));
        assert_eq!(lines.lines().count(), 2);
    }

    #[test]
    fn a_count_is_one_row_and_no_table() {
        assert_eq!(shown(json!({"count": 1}), Format::Ndjson).unwrap(), "{\"count\":1}");
        assert_eq!(shown(json!({"count": 1}), Format::Csv), None);
    }
}
