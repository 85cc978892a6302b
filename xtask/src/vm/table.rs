//! `docs/kernels.md`: which event each kernel and rung gives, from what the servers in the guests said. A run brings
//! its own columns up to date and leaves the others as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

/// What the document opens with; the table and the remarks follow.
const HEAD: &str = "\
# Events by kernel and rung

Made by `cargo xtask vm` from what `netspy-server doctor` says inside each kernel, with `--hooks kprobe` and with
`--hooks tracepoint`; every run compares the columns of the kernels that it booted, and `cargo xtask vm --write` brings them up
to date. A cell is the rung that the event stands on; ✓ means that the records of the server's own traffic at start were right.
An empty cell: the event cannot be had. Kernels on aarch64 have a table of their own (`--arch aarch64`) once they ran.
";
/// The first cell of a header, and of the line below it.
const EVENT: &str = "event";
const RULE: &str = "---";

/// Cells by column (`6.12 kprobe`) and event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// Columns in the order in which they are shown: one table for each group.
    columns: Vec<Vec<String>>,
    /// Events in the order in which they are shown.
    events: Vec<String>,
    cells: BTreeMap<(String, String), String>,
    /// The columns and events to which a remark applies.
    remarks: BTreeMap<String, BTreeSet<(String, String)>>,
}

impl Table {
    /// Empty, with these columns.
    pub(super) fn new(columns: Vec<Vec<String>>) -> Self {
        Self { columns, ..Self::default() }
    }

    /// Takes over what the document says about columns that this table has; nothing from anything else.
    pub(super) fn read(&mut self, document: &str) {
        let mut header = Vec::new();
        for row in document.lines().filter(|line| line.starts_with('|')).map(cells) {
            let Some(event) = row.first() else { continue };
            if event == EVENT {
                header = row;
                continue;
            }
            if event == RULE {
                continue;
            }
            for (column, cell) in header.iter().zip(&row).skip(1) {
                self.set(column, event, cell.clone());
            }
        }
        let mut remark = "";
        for line in document.lines() {
            if let Some(next) = line.strip_prefix("- ") {
                remark = next;
            } else if let Some((column, events)) =
                line.strip_prefix("  - ").and_then(|line| line.split_once(": "))
            {
                events.split(", ").for_each(|event| self.remark(column, event, remark));
            }
        }
    }

    /// Replaces a column by what a doctor said: its `events`.
    pub(super) fn replace(&mut self, column: &str, events: &Value) {
        self.cells.retain(|(of, _), _| of != column);
        self.remarks.retain(|_, places| {
            places.retain(|(of, _)| of != column);
            !places.is_empty()
        });
        for event in events.as_array().into_iter().flatten() {
            let text = |key: &str| event[key].as_str().unwrap_or_default();
            let mark = if text("check") == "passed" { " ✓" } else { "" };
            let cell =
                if text("status") == "active" { format!("{}{mark}", text("rung")) } else { String::new() };
            self.set(column, text("name"), cell);
            for remark in event["remarks"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                self.remark(column, text("name"), remark);
            }
        }
        let cells = &self.cells;
        self.events.retain(|event| cells.keys().any(|(_, of)| of == event));
    }

    fn shows(&self, column: &str) -> bool {
        self.columns.iter().flatten().any(|known| known == column)
    }

    fn set(&mut self, column: &str, event: &str, cell: String) {
        if !self.shows(column) {
            return;
        }
        if !self.events.iter().any(|known| known == event) {
            self.events.push(event.to_owned());
        }
        self.cells.insert((column.to_owned(), event.to_owned()), cell);
    }

    fn remark(&mut self, column: &str, event: &str, remark: &str) {
        if self.shows(column) {
            let places = self.remarks.entry(remark.to_owned()).or_default();
            places.insert((column.to_owned(), event.to_owned()));
        }
    }

    /// The whole document.
    pub(super) fn document(&self) -> String {
        let mut text = HEAD.to_owned();
        let is_known = |column: &String| self.cells.keys().any(|(of, _)| of == column);
        for columns in self.columns.iter().filter(|columns| columns.iter().any(is_known)) {
            let _ = writeln!(text, "\n| {EVENT} | {} |", columns.join(" | "));
            let _ = writeln!(text, "|{}", format!(" {RULE} |").repeat(columns.len() + 1));
            for event in &self.events {
                let cell = |column: &String| self.cells.get(&(column.clone(), event.clone())).cloned();
                let row: Vec<_> = columns.iter().map(|column| cell(column).unwrap_or_default()).collect();
                let _ = writeln!(text, "| {event} | {} |", row.join(" | "));
            }
        }
        text.push_str("\nWhat is missing on the rung that was taken:\n\n");
        for (remark, places) in &self.remarks {
            let _ = writeln!(text, "- {remark}");
            for column in self.columns.iter().flatten() {
                let applies = |event: &&String| places.contains(&(column.clone(), (*event).clone()));
                let events: Vec<_> = self.events.iter().filter(applies).map(String::as_str).collect();
                if !events.is_empty() {
                    let _ = writeln!(text, "  - {column}: {}", events.join(", "));
                }
            }
        }
        text
    }
}

/// The cells of a row.
fn cells(row: &str) -> Vec<String> {
    row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table() -> Table {
        let mut table = Table::new(vec![vec!["5.10 kprobe".into(), "7.2 kprobe".into()]]);
        let event = |name: &str, status: &str, check: &str, remarks: &[&str]| json!({"name": name, "status": status, "rung": "kprobe", "check": check, "remarks": remarks});
        table.replace("5.10 kprobe", &json!([event("accept", "active", "passed", &["no: reasons"])]));
        table.replace(
            "7.2 kprobe",
            &json!([event("accept", "active", "undone", &[]), event("drop", "inactive", "none", &[])]),
        );
        table
    }

    #[test]
    fn what_is_written_is_read_again() {
        let document = table().document();
        assert!(document.contains("| accept | kprobe ✓ | kprobe |\n| drop |  |  |\n"), "{document}");
        assert!(document.contains("- no: reasons\n  - 5.10 kprobe: accept\n"), "{document}");
        let mut again = Table::new(table().columns);
        again.read(&document);
        assert_eq!(again.document(), document);
        again.read("something else\n| x |\n");
        assert_eq!(again.document(), document);
    }

    #[test]
    fn a_column_is_replaced_and_the_others_stay() {
        let mut table = table();
        table.replace("7.2 kprobe", &json!([]));
        let document = table.document();
        assert!(document.contains("| accept | kprobe ✓ |  |\n"), "{document}");
        assert!(!document.contains("drop"), "an event that nobody has any more is gone: {document}");
    }

    #[test]
    fn each_processor_has_its_table_once_a_kernel_ran_on_it() {
        let columns = || vec![vec!["7.2 kprobe".into()], vec!["aarch64 7.2 kprobe".into()]];
        let mut both = Table::new(columns());
        both.read(&table().document());
        assert!(!both.document().contains("aarch64 7.2"), "{}", both.document());
        both.replace("aarch64 7.2 kprobe", &json!([{"name": "drop", "status": "active", "rung": "fentry"}]));
        let document = both.document();
        assert!(
            document.contains("| event | 7.2 kprobe |\n| --- | --- |\n| accept | kprobe |\n"),
            "{document}"
        );
        assert!(document.contains("| event | aarch64 7.2 kprobe |\n"), "{document}");
        assert!(document.contains("| drop | fentry |\n"), "{document}");
        let mut again = Table::new(columns());
        again.read(&document);
        assert_eq!(again.document(), document);
    }

    #[test]
    fn a_column_that_is_not_shown_is_forgotten() {
        let mut narrow = Table::new(vec![vec!["7.2 kprobe".into()]]);
        narrow.read(&table().document());
        assert!(!narrow.document().contains("5.10"));
    }
}
