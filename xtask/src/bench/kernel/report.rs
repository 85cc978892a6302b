//! The results: as tables in Markdown, to be read at a terminal or pasted into docs/benchmarks.md, or as JSON.

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use serde::Serialize;

use super::goals::{Goal, slowdown_limit};
use super::idle::Idle;
use super::setup::Machine;
use super::slowdown::{self, Slowdown};
use super::workload::Workload;
use super::{loss, programs};

/// Everything that was measured; a part that was not asked for is absent.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    /// How the server traces each event here.
    pub(super) hooks: Vec<String>,
    pub(super) slowdown: Option<Slowdown>,
    pub(super) programs: Option<Vec<programs::Row>>,
    pub(super) loss: Option<Vec<loss::Row>>,
    pub(super) idle: Option<Idle>,
    pub(super) goals: Vec<Goal>,
    pub(super) seconds: u64,
}

impl Report {
    /// Tables and what is needed to read them.
    pub(super) fn text(&self) -> String {
        let mut parts = vec![format!(
            "{}\nnetspy: {}\nmeasured in {} s",
            self.machine.sentence(),
            self.hooks.join(", "),
            self.seconds
        )];
        if let Some(slowdown) = &self.slowdown {
            parts.push(slowdown_text(slowdown));
        }
        if let Some(rows) = &self.programs {
            parts.push(programs_table(rows));
        }
        if let Some(rows) = &self.loss {
            parts.push(loss_table(rows));
        }
        if let Some(idle) = &self.idle {
            parts.push(idle_table(idle));
        }
        parts.push(goals_table(&self.goals));
        parts.join("\n\n")
    }
}

impl loss::Row {
    /// What was tried, in words.
    pub(super) fn title(&self) -> String {
        let title = self.workload.title();
        match self.wanted {
            Some(rate) => format!("{title} {rate}/s"),
            None if self.stalled => format!("{title}, server stopped"),
            None => format!("{title}, maximum rate"),
        }
    }
}

/// Columns whose names begin with a space are aligned left, the others, numbers, right.
fn table(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(columns.iter().map(|name| name.trim_start()));
    table.add_rows(rows);
    for (column, name) in table.column_iter_mut().zip(columns) {
        let words = name.starts_with(' ');
        column.set_cell_alignment(if words { CellAlignment::Left } else { CellAlignment::Right });
    }
    table.to_string()
}

fn slowdown_text(slowdown: &Slowdown) -> String {
    let mut rows = Vec::new();
    for workload in Workload::MEASURED {
        if let Some(rate) = slowdown.baseline.get(&workload) {
            let mut row = vec![workload.title().to_owned(), "nothing".into(), "1".into()];
            row.extend([String::new(), String::new(), thousands(rate.median)]);
            row.resize(SLOWDOWN.len(), String::new());
            rows.push(row);
        }
        rows.extend(slowdown.rows.iter().filter(|row| row.workload == workload).map(slowdown_row));
    }
    let cannot = |(tool, reason): &(&str, String)| format!("Cannot run here: {tool}: {reason}");
    let mut parts = vec![table(&SLOWDOWN, rows)];
    parts.extend(slowdown.cannot_run.iter().map(cannot));
    parts.join("\n\n")
}

const SLOWDOWN: [&str; 10] = [
    " workload",
    " watched by",
    "slow-down (quartiles)",
    "goal",
    "CPU only",
    "made/s",
    "made",
    "reported",
    "records lost",
    "others, CPUs",
];

fn slowdown_row(row: &slowdown::Row) -> Vec<String> {
    let goal = (row.tool == slowdown::NETSPY).then(|| format!("≤ {}", slowdown_limit(row.workload)));
    vec![
        row.workload.title().to_owned(),
        row.tool.to_owned(),
        row.slowdown.to_string(),
        goal.unwrap_or_default(),
        format!("{:.2}", row.cpu_slowdown.median),
        thousands(row.rate.median),
        row.made.to_string(),
        format!("{} ({:.1} %)", row.reported, 100.0 * row.reported as f64 / row.made.max(1) as f64),
        row.lost.map_or_else(|| "does not say".to_owned(), |lost| lost.to_string()),
        format!("{:.2}", row.others.median),
    ]
}

fn programs_table(rows: &[programs::Row]) -> String {
    let columns =
        [" workload", " program", "runs/attempt", "ns/run", "ns/attempt", "skipped (would interrupt itself)"];
    let cells = |row: &programs::Row| {
        vec![
            row.workload.title().to_owned(),
            row.program.clone(),
            format!("{:.2}", row.runs_each),
            format!("{:.0}", row.ns_per_run),
            format!("{:.0}", row.ns_each),
            row.recursion_misses.to_string(),
        ]
    };
    table(&columns, rows.iter().map(cells))
}

fn loss_table(rows: &[loss::Row]) -> String {
    let columns = [
        " workload",
        "reached/s",
        "made",
        "recorded",
        "records lost",
        "unaccounted",
        "drops (recorded)",
        "behind, s",
        "server µs/attempt",
        "RSS/PSS, MiB",
        "history, MiB",
        "others, CPUs",
    ];
    let cells = |row: &loss::Row| {
        vec![
            row.title(),
            format!("{}{}", thousands(row.rate), if row.reached { "" } else { " (its maximum)" }),
            row.made.to_string(),
            row.recorded.to_string(),
            row.lost.to_string(),
            row.unaccounted.to_string(),
            format!("{} ({})", row.drops.0, row.drops.1),
            format!("{:.1}", row.behind_s),
            format!("{:.1}", row.server_us_each),
            format!("{}/{}", row.memory.rss_kib >> 10, row.memory.pss_kib >> 10),
            format!("{:.0}", row.history_mib),
            format!("{:.2}", row.others),
        ]
    };
    table(&columns, rows.iter().map(cells))
}

fn idle_table(idle: &Idle) -> String {
    let columns = ["idle, s", "events of others", "wake-ups", "part of a core", "RSS/PSS, MiB"];
    table(
        &columns,
        [vec![
            idle.seconds.to_string(),
            idle.events.to_string(),
            idle.wakeups.to_string(),
            format!("{:.2} %", idle.cpu * 100.0),
            format!("{:.1}/{:.1}", idle.memory.rss_kib as f64 / 1024.0, idle.memory.pss_kib as f64 / 1024.0),
        ]],
    )
}

fn goals_table(goals: &[Goal]) -> String {
    let cells = |goal: &Goal| {
        let met = if goal.met { "met" } else { "MISSED" };
        vec![goal.what.clone(), goal.measured.clone(), goal.wanted.clone(), met.to_owned()]
    };
    table(&[" goal", "measured", "wanted", " "], goals.iter().map(cells))
}

/// A rate, rounded: the last digits are noise.
fn thousands(rate: f64) -> String {
    if rate < 10_000.0 { format!("{:.1}k", rate / 1e3) } else { format!("{:.0}k", rate / 1e3) }
}
