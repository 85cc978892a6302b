//! The rows of an answer, whatever its shape, and how they are written for programs: JSON objects, CSV.

use serde_json::{Map, Value};

use super::escape;

/// Names of columns, and values in their order.
#[derive(Debug, PartialEq)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Value>>,
}

impl Rows {
    /// The rows of a list; none where the answer is no list.
    pub(crate) fn of_list(value: &Value) -> Option<Self> {
        let columns = value.get("columns")?.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned);
        let rows =
            value.get("rows")?.as_array()?.iter().map(|row| row.as_array().cloned().unwrap_or_default());
        Some(Self { columns: columns.collect(), rows: rows.collect() })
    }

    /// The rows of any answer: of a list; else of the first member that holds objects, which the output schema
    /// names even where there are none; else one row of everything that the answer counts.
    pub(crate) fn of_answer(value: &Value, schema: &Map<String, Value>) -> Self {
        Self::of_list(value)
            .or_else(|| Self::of_objects(value, schema))
            .unwrap_or_else(|| Self::of_counts(value))
    }

    fn of_objects(value: &Value, schema: &Map<String, Value>) -> Option<Self> {
        let members = schema.get("properties")?.as_object()?;
        let (name, objects) = members
            .iter()
            .find_map(|(name, member)| Some((name, member.pointer("/items/properties")?.as_object()?)))?;
        let cells =
            |object: &Value| objects.keys().map(|key| object.get(key).cloned().unwrap_or_default()).collect();
        let rows = value.get(name)?.as_array()?.iter().map(cells).collect();
        Some(Self { columns: objects.keys().cloned().collect(), rows })
    }

    fn of_counts(value: &Value) -> Self {
        let (mut columns, mut row) = (Vec::new(), Vec::new());
        for (name, member) in value.as_object().into_iter().flatten() {
            match member {
                Value::Array(_) => {}
                Value::Object(counts) => {
                    for (part, count) in counts.iter().filter(|(_, count)| count.is_number()) {
                        columns.push(format!("{name}.{part}"));
                        row.push(count.clone());
                    }
                }
                scalar => {
                    columns.push(name.clone());
                    row.push(scalar.clone());
                }
            }
        }
        Self { columns, rows: vec![row] }
    }

    /// A JSON object per row, each on a line.
    pub(crate) fn ndjson(&self) -> String {
        let object =
            |row: &Vec<Value>| self.columns.iter().cloned().zip(row.iter().cloned()).collect::<Map<_, _>>();
        lines(self.rows.iter().map(|row| escape::json(&Value::Object(object(row)))))
    }

    /// The names, then the rows (RFC 4180, but that a line ends as lines do here).
    pub(crate) fn csv(&self) -> String {
        lines(std::iter::once(self.csv_head()).chain(self.rows.iter().map(|row| csv_line(row))))
    }

    /// The rows without the names.
    pub(crate) fn csv_lines(&self) -> String {
        lines(self.rows.iter().map(|row| csv_line(row)))
    }

    /// The line of the names.
    pub(crate) fn csv_head(&self) -> String {
        self.columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(",")
    }
}

fn csv_line(row: &[Value]) -> String {
    row.iter().map(field).collect::<Vec<_>>().join(",")
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}

/// What is unknown is empty.
fn field(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => quoted(text),
        other => quoted(&other.to_string()),
    }
}

/// What a terminal would obey is spelled out, as it is for people: CSV has no escapes.
fn quoted(text: &str) -> String {
    let text = escape::text(text);
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_objects_or_lines() {
        let list = json!({"columns": ["name", "pid", "errno"], "rows": [["a,\"b\"", 7, null], ["x\n\u{1b}", 8, "E"]]});
        let rows = Rows::of_list(&list).unwrap();
        assert_eq!(rows.csv(), "name,pid,errno\n\"a,\"\"b\"\"\",7,\nx\\x0a\\x1b,8,E");
        let lines = rows.ndjson();
        let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!(first, json!({"name": "a,\"b\"", "pid": 7, "errno": null}));
        assert_eq!(lines.lines().count(), 2);
    }

    #[test]
    fn every_answer_has_rows() {
        let counted = json!({"count": 3, "outcomes": {"refused": 1}, "notes": [], "lost": {"total": 0, "by_place": {}}});
        assert_eq!(Rows::of_list(&counted), None);
        let counts = Rows::of_answer(&counted, &Map::new());
        assert_eq!(counts.csv(), "count,outcomes.refused,lost.total\n3,1,0");
        let schema =
            json!({"properties": {"total": {}, "ends": {"items": {"properties": {"address": {}, "n": {}}}}}});
        let schema = schema.as_object().unwrap();
        let csv = |value| Rows::of_answer(&value, schema).csv();
        assert_eq!(csv(json!({"total": 1, "ends": [{"n": 2, "address": "a"}]})), "address,n\na,2");
        assert_eq!(csv(json!({"total": 0, "ends": []})), "address,n");
    }
}
