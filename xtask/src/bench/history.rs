//! `bench history`: netspy's history against the same in Parquet segments that `DataFusion` reads, in one run.
//!
//! The other one is `netspy-server/benches/columnar`, a package of its own: what it depends on is in nobody else's
//! build nor lock file. docs/adr/0001 says what followed from it.

#![allow(clippy::cast_precision_loss, reason = "far more exact than what is measured")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{command, workspace};

/// Options of `bench history`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Connections in both histories
    #[arg(long, default_value_t = 1_000_000)]
    connections: u64,
    /// Also build both from nothing, and compare that
    #[arg(long)]
    fresh_build: bool,
}

const PACKAGE: &str = "netspy-server/benches/columnar/Cargo.toml";

/// Builds, measures, prints a table in Markdown.
pub(crate) fn job(arguments: &Arguments) -> Result<()> {
    let root = workspace::root()?;
    let target = workspace::target(&root).join("columnar");
    let directory = workspace::target(&root).join("bench");
    std::fs::create_dir_all(&directory)?;
    println!("| {:<46} | {:<18} | {:>12} | {:>12} | {:>8} |", "what", "unit", "SQLite", "Parquet", "ratio");
    println!("| --- | --- | ---: | ---: | ---: |");
    if arguments.fresh_build {
        let [sqlite, columnar] = fresh_builds(&root, &directory, &target)?;
        compare(&sqlite, &columnar);
    } else {
        command::run(columnar(&root).arg("--target-dir").arg(&target))?;
    }
    let mut bench = std::process::Command::new(target.join("release/netspy-columnar"));
    bench.arg("--connections").arg(arguments.connections.to_string()).arg("--directory").arg(&directory);
    command::lines(&mut bench, |line| {
        let measured: Value =
            serde_json::from_str(line).with_context(|| format!("not a measurement: {line}"))?;
        let number = |name: &str| measured[name].as_f64().unwrap_or_default();
        let text = |name: &str| measured[name].as_str().unwrap_or_default();
        row(text("what"), text("unit"), number("sqlite"), number("columnar"));
        Ok(())
    })
}

/// What is measured against is built for release.
fn columnar(root: &Path) -> std::process::Command {
    let mut build = command::cargo(root);
    build.args(["build", "--quiet", "--release", "--locked", "--manifest-path", PACKAGE]);
    build
}

fn row(what: &str, unit: &str, sqlite: f64, columnar: f64) {
    let ratio = if sqlite > 0.0 { format!("{:.2}", columnar / sqlite) } else { "–".to_owned() };
    println!("| {what:<46} | {unit:<18} | {sqlite:>12.2} | {columnar:>12.2} | {ratio:>8} |");
}

/// One build.
struct Built {
    seconds: f64,
    cpu_seconds: f64,
    packages: f64,
    target_bytes: f64,
    program_bytes: f64,
}

/// netspy's server below `directory`, where nothing of it is left, and the other one in `target`.
fn fresh_builds(root: &Path, directory: &Path, target: &Path) -> Result<[Built; 2]> {
    let mut server = command::cargo(root);
    server.args(["build", "--quiet", "--release", "--locked", "--package", "netspy-server"]);
    let own = directory.join("fresh-sqlite");
    let sqlite = fresh_build(server, &own, "netspy-server", &root.join("netspy-server/Cargo.toml"))?;
    std::fs::remove_dir_all(&own)?;
    Ok([sqlite, fresh_build(columnar(root), target, "netspy-columnar", &root.join(PACKAGE))?])
}

fn compare(sqlite: &Built, columnar: &Built) {
    let mib = |bytes: f64| bytes / 1_048_576.0;
    for (what, unit, of) in [
        ("fresh build", "s", (|built: &Built| built.seconds) as fn(&Built) -> f64),
        ("fresh build", "CPU s", |built| built.cpu_seconds),
        ("packages that are built", "", |built| built.packages),
    ] {
        row(what, unit, of(sqlite), of(columnar));
    }
    row("target directory", "MiB", mib(sqlite.target_bytes), mib(columnar.target_bytes));
    row("program", "MiB", mib(sqlite.program_bytes), mib(columnar.program_bytes));
}

/// Builds the package of that manifest into an empty directory.
fn fresh_build(
    mut build: std::process::Command,
    target: &Path,
    program: &str,
    manifest: &Path,
) -> Result<Built> {
    if target.exists() {
        std::fs::remove_dir_all(target)?;
    }
    let (began, cpu_began) = (Instant::now(), children_cpu_seconds()?);
    command::run(build.arg("--target-dir").arg(target))?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Built {
        seconds,
        cpu_seconds: children_cpu_seconds()? - cpu_began,
        packages: packages(manifest)? as f64,
        target_bytes: bytes_below(target)?,
        program_bytes: std::fs::metadata(target.join("release").join(program))?.len() as f64,
    })
}

/// How many packages one is built from, itself included.
fn packages(manifest: &Path) -> Result<usize> {
    let mut tree = command::cargo(manifest.parent().context("a manifest has a directory")?);
    tree.args(["tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--no-dedupe"]);
    let lines = command::text(tree.arg("--manifest-path").arg(manifest))?;
    Ok(lines.lines().collect::<BTreeSet<_>>().len())
}

/// User and system time of the children that have ended, as `/proc/self/stat` has it (fields 16 and 17, in 1/100 s).
fn children_cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(") ").context("/proc/self/stat is cut off")?.1;
    let ticks = after_name.split(' ').skip(13).take(2).map(str::parse::<u64>);
    Ok(ticks.sum::<Result<u64, _>>().context("/proc/self/stat")? as f64 / 100.0)
}

fn bytes_below(directory: &Path) -> Result<f64> {
    let mut waiting: Vec<PathBuf> = vec![directory.to_owned()];
    let mut bytes = 0;
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let file = entry.metadata()?;
            if file.is_dir() {
                waiting.push(entry.path());
            } else {
                bytes += file.len();
            }
        }
    }
    Ok(bytes as f64)
}
