//! `bench server`: what history costs and how fast it answers, with the goals next to the numbers. The measuring
//! is `netspy-server/benches/history`, which knows the server from inside; here is what it means.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{command, packages, workspace};

/// Options of `bench server`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Connections in the history that is asked
    #[arg(long, default_value_t = 10_000_000)]
    connections: u64,
    /// Only write so many connections with the bounds that a server has by default, and show what memory that takes
    #[arg(long)]
    long: Option<u64>,
}

const MIB: f64 = 1_048_576.0;

/// A number that is to be on one side of another.
#[derive(Clone, Copy)]
enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// Goals of questions in ms, by the beginning of what is asked.
const QUESTIONS: &[(&str, f64)] =
    &[("summary", 20.0), ("newest 100 of", 20.0), ("newest 100", 20.0), ("top", 150.0)];

/// Builds with optimisation, measures, prints.
pub(crate) fn job(arguments: &Arguments) -> Result<()> {
    ensure!(
        arguments.long.is_some() || packages::is_root()?,
        "the benchmark starts a server that traces: run it as root, sudo -E cargo xtask bench server"
    );
    let root = workspace::root()?;
    let directory = workspace::target(&root).join("bench");
    std::fs::create_dir_all(&directory)?;
    let mut bench = command::cargo(&root);
    bench.args(["bench", "--quiet", "--package", "netspy-server", "--bench", "history", "--"]);
    bench.arg("--connections").arg(arguments.connections.to_string()).arg("--directory").arg(&directory);
    if let Some(long) = arguments.long {
        bench.arg("--long").arg(long.to_string());
    }
    println!(
        "{} connections; about twenty seconds per million",
        arguments.long.unwrap_or(arguments.connections)
    );
    command::lines(&mut bench, |line| {
        if line.starts_with('{') {
            print(&serde_json::from_str(line).with_context(|| format!("not a measurement: {line}"))?);
        }
        Ok(())
    })
}

fn print(measured: &Value) {
    let what = measured["what"].as_str().unwrap_or_default();
    let number = |name: &str| measured[name].as_f64().unwrap_or_default();
    if what.starts_with("ingest") {
        let (rate, cpu) = (number("connections_per_second"), number("cpu_seconds"));
        row(what, "connections/s", rate, Some(Goal::AtLeast(200_000.0)));
        row(what, "connections per CPU second", number("connections") / cpu, Some(Goal::AtLeast(100_000.0)));
        row(what, "kernel records/s", rate * number("records") / number("connections"), None);
    } else if what == "disk" {
        let bytes = number("bytes") / number("connections");
        row(what, "bytes per connection", bytes, Some(Goal::AtMost(150.0)));
    } else if what == "retention" {
        row(
            what,
            "MiB on disk at most",
            number("most_bytes") / MIB,
            Some(Goal::AtMost(number("allowed_bytes") / MIB)),
        );
        row("", "MiB of it the log, at most", number("most_log_bytes") / MIB, None);
    } else if what == "memory meanwhile" {
        let million = number("records") / 1e6;
        row(
            &format!("after {million:.0} million records"),
            "MiB resident",
            number("resident_bytes") / MIB,
            None,
        );
    } else if what == "long run" {
        row(what, "events written", number("connections") + number("drops"), None);
        row(what, "connections left", number("rows_left"), None);
        row(what, "MiB on disk", number("bytes") / MIB, None);
    } else if what == "memory" {
        row(what, "MiB resident at most", number("peak_bytes") / MIB, None);
    } else if what.starts_with("GET") {
        let load = measured["load"].as_str().unwrap_or_default();
        let goal = if load == "busy" { None } else { Some(Goal::AtLeast(70.0)) };
        let ratio = 100.0 * number("requests_per_second") / number("bare_requests_per_second");
        row(&format!("{what} ({load})"), "requests/s", number("requests_per_second"), None);
        row("", "% of a bare handler's", ratio, goal);
        let goal = if what.contains("/api/top") { 150.0 } else { 20.0 };
        row("", "ms p99, one client", number("alone_p99_ms"), Some(Goal::AtMost(goal)));
        row("", "ms p99, eight clients", number("p99_ms"), Some(Goal::AtMost(goal)));
        row("", "ms p99 of the bare handler, eight", number("bare_p99_ms"), None);
    } else {
        let goal =
            QUESTIONS.iter().find(|(begins, _)| what.starts_with(begins) && !what.contains("all rows"));
        let load = measured["load"].as_str().unwrap_or_default();
        row(&format!("{what} ({load})"), "ms median", number("median_ms"), None);
        row("", "ms p99", number("p99_ms"), goal.map(|(_, most)| Goal::AtMost(*most)));
        row("", "ms of CPU, median", number("cpu_median_ms"), None);
    }
}

fn row(what: &str, unit: &str, number: f64, goal: Option<Goal>) {
    let verdict = match goal {
        None => String::new(),
        Some(Goal::AtLeast(least)) => format!("goal ≥ {least}: {}", met(number >= least)),
        Some(Goal::AtMost(most)) => format!("goal ≤ {most}: {}", met(number <= most)),
    };
    println!("{what:<52} {number:>14.2} {unit:<32} {verdict}");
}

fn met(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}
