//! Rows in columns, for people: the most telling columns in the width that there is, or all of them.

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Row, Table, presets,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::rows::Rows;
use super::{connection, escape, time};
use crate::output::Page;

/// What a narrow table shows, where the rows have it.
const TELLING: [&str; 12] = [
    "time",
    "process_name",
    "pid",
    "protocol",
    "destination",
    "outcome",
    "errno_name",
    "latency_us",
    "direction",
    "reason",
    "class",
    "bytes",
];
/// Names that are said otherwise in a heading.
const HEADINGS: [(&str, &str); 3] =
    [("process_name", "PROCESS"), ("protocol", "PROTO"), ("errno_name", "ERROR")];

/// What a table without room does without, first things first.
const DISPENSABLE: [&str; 7] = ["direction", "latency_us", "bytes", "errno_name", "class", "protocol", "pid"];
/// What may be cut, and the columns that it should have.
const CUT: [(&str, u16); 3] = [("destination", 21), ("process_name", 8), ("reason", 16)];
/// Columns between columns.
const GAP: u16 = 2;

/// A table without the last line end. Moments are told as in `zone`, where it is `now`.
pub(crate) fn table(rows: &Rows, is_wide: bool, page: Page, now: Timestamp, zone: &TimeZone) -> String {
    let mut chosen: Vec<usize> = (0..rows.columns.len())
        .filter(|column| is_wide || TELLING.contains(&rows.columns[*column].as_str()))
        .collect();
    let mut table = filled(rows, &chosen, now, zone);
    if let Some(width) = page.width.filter(|_| !is_wide) {
        let mut dispensable = DISPENSABLE.iter();
        while needed(&table, rows, &chosen) > width
            && let Some(name) = dispensable.next()
        {
            chosen.retain(|column| rows.columns[*column] != *name);
            table = filled(rows, &chosen, now, zone);
        }
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        for (place, column) in chosen.iter().enumerate() {
            let is_cut = CUT.iter().any(|(name, _)| *name == rows.columns[*column]);
            if let Some(column) = table.column_mut(place).filter(|_| !is_cut) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
    }
    if page.is_coloured {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// The width that leaves everything readable.
fn needed(table: &Table, rows: &Rows, chosen: &[usize]) -> u16 {
    let widths = table.column_max_content_widths();
    let width = |(column, width): (&usize, u16)| match CUT.iter().find(|cut| cut.0 == rows.columns[*column]) {
        Some((_, least)) => width.min(*least) + GAP,
        None => width + GAP,
    };
    chosen.iter().zip(widths).map(width).sum::<u16>().saturating_sub(GAP)
}

fn filled(rows: &Rows, chosen: &[usize], now: Timestamp, zone: &TimeZone) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_truncation_indicator("…");
    let line = |cells: Vec<Cell>| {
        let mut row = Row::from(cells);
        row.max_height(1);
        row
    };
    let heading = |column: &usize| Cell::new(heading(&rows.columns[*column])).add_attribute(Attribute::Bold);
    table.set_header(line(chosen.iter().map(heading).collect()));
    for row in &rows.rows {
        let cell = |column: &usize| {
            cell(&rows.columns[*column], row.get(*column).unwrap_or(&Value::Null), now, zone)
        };
        table.add_row(line(chosen.iter().map(cell).collect()));
    }
    let last = chosen.len().saturating_sub(1);
    for (place, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if place == last { 0 } else { GAP }));
    }
    table
}

fn heading(column: &str) -> String {
    let said = HEADINGS.iter().find(|(name, _)| *name == column).map(|(_, said)| (*said).to_owned());
    said.unwrap_or_else(|| column.trim_end_matches("_us").replace('_', " ").to_uppercase())
}

fn cell(column: &str, value: &Value, now: Timestamp, zone: &TimeZone) -> Cell {
    match (column, value) {
        (_, Value::Null) => Cell::new("-"),
        ("time", Value::String(moment)) => Cell::new(time::local(moment, now, zone)),
        ("outcome", Value::String(outcome)) => {
            let cell = Cell::new(escape::text(outcome).replace('_', " "));
            match outcome.as_str() {
                "established" => cell.fg(Color::Green),
                failure if connection::is_failure(failure) => cell.fg(Color::Red),
                _ => cell,
            }
        }
        ("class", Value::String(class)) if class == "harmful" => Cell::new("harmful").fg(Color::Red),
        (name, Value::Number(number)) => {
            let microseconds = number.as_u64().filter(|_| name.ends_with("_us"));
            let text = microseconds.map_or_else(|| number.to_string(), time::latency);
            Cell::new(text).set_alignment(CellAlignment::Right)
        }
        (_, Value::String(text)) => Cell::new(escape::text(text)),
        (_, other) => Cell::new(escape::json(other)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(is_wide: bool, width: Option<u16>, is_coloured: bool) -> String {
        let list = json!({
            "columns": ["time", "destination", "process_name", "pid", "source", "outcome", "latency_us"],
            "rows": [
                ["2026-11-21T10:00:01Z", "10.0.0.1:443", "x\u{1b}[31m", 7, "10.0.0.2:40000", "established", 812],
                ["2026-11-20T10:00:02Z", "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:5432", "curl", 88, null, "timed_out", null],
            ],
        });
        let page = Page { width, is_coloured };
        let now = "2026-11-21T11:00:00Z".parse().unwrap();
        table(&Rows::of_list(&list).unwrap(), is_wide, page, now, &TimeZone::UTC)
    }

    #[test]
    fn telling_columns_fit_the_width() {
        assert_eq!(
            shown(false, None, false),
            "TIME            DESTINATION                                    PROCESS    PID  OUTCOME      LATENCY
10:00:01        10.0.0.1:443                                   x\\x1b[31m    7  established   0.8 ms
11/20 10:00:02  [2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:5432  curl        88  timed out    -"
        );
        for width in [40, 60, 80] {
            let table = shown(false, Some(width), false);
            assert_eq!(table.lines().count(), 3, "{table}");
            assert!(table.lines().all(|line| line.chars().count() <= width.into()), "{table}");
            assert!(table.contains('…') && table.contains("timed out"), "{table}");
        }
    }

    #[test]
    fn wide_shows_all_and_cuts_nothing() {
        let table = shown(true, Some(40), false);
        assert!(table.contains("SOURCE") && table.contains("dddd:eeee:ffff]:5432"), "{table}");
    }

    #[test]
    fn colours_are_ours_alone() {
        assert!(!shown(true, None, false).contains('\u{1b}'));
        let coloured = shown(true, None, true);
        assert!(
            coloured.contains("\u{1b}[")
                && !coloured.contains("\u{1b}[31m x")
                && coloured.contains("x\\x1b[31m")
        );
    }
}
