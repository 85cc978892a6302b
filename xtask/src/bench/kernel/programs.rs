//! What each of the server's eBPF programs costs, by the kernel's own statistics: in a part of its own, because
//! counting costs as well (two readings of the clock for each run).

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde_json::Value;

use super::process::field;
use super::setup::Bench;
use super::workload::Workload;
use crate::{command, workspace};

/// A row of the table.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) workload: Workload,
    /// The program's name.
    pub(super) program: String,
    /// How often it ran for one attempt.
    pub(super) runs_each: f64,
    /// Time of one run.
    pub(super) ns_per_run: f64,
    /// Its time for one attempt.
    pub(super) ns_each: f64,
    /// Runs that the kernel left out because the program would have interrupted itself.
    pub(super) recursion_misses: u64,
}

/// Runs each workload with statistics on.
pub(super) fn measure(bench: &mut Bench, each: Duration) -> Result<Vec<Row>> {
    let _on = Statistics::on()?;
    let mut server = bench.start_server()?;
    let names = names(&bench.root)?;
    let mut rows = Vec::new();
    for workload in Workload::MEASURED {
        eprintln!("cost of each program: {}", workload.title());
        let before = Counts::all_of(server.pid())?;
        let made = bench.generator.run(workload, each, None)?;
        let after = Counts::all_of(server.pid())?;
        ensure!(!after.is_empty(), "the server holds no eBPF program");
        for (id, after) in after {
            let before = before.get(&id).copied().unwrap_or_default();
            let (runs, ns) = (after.runs - before.runs, after.ns - before.ns);
            if runs > 0 {
                rows.push(Row {
                    workload,
                    program: names.get(&id).cloned().unwrap_or_else(|| format!("program {id}")),
                    runs_each: runs as f64 / made.attempts as f64,
                    ns_per_run: ns as f64 / runs as f64,
                    ns_each: ns as f64 / made.attempts as f64,
                    recursion_misses: after.recursion_misses - before.recursion_misses,
                });
            }
        }
        server.ledger(workload)?;
    }
    server.stop()?;
    Ok(rows)
}

/// What the kernel counts of a program (`bpf_prog_show_fdinfo`, kernel/bpf/syscall.c).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    runs: u64,
    ns: u64,
    recursion_misses: u64,
}

impl Counts {
    /// Of every program that the process holds, by the program's id.
    fn all_of(pid: u32) -> Result<BTreeMap<u64, Self>> {
        let mut counts = BTreeMap::new();
        for descriptor in fs::read_dir(format!("/proc/{pid}/fd")).context("the server is gone")? {
            let descriptor = descriptor?;
            if fs::read_link(descriptor.path()).is_ok_and(|target| target.ends_with("anon_inode:bpf-prog")) {
                let info = format!("/proc/{pid}/fdinfo/{}", descriptor.file_name().to_string_lossy());
                let (id, count) = Self::parse(&fs::read_to_string(&info)?)
                    .with_context(|| format!("{info} has no statistics"))?;
                counts.insert(id, count);
            }
        }
        Ok(counts)
    }

    fn parse(fdinfo: &str) -> Option<(u64, Self)> {
        let counts = Self {
            runs: field(fdinfo, "run_cnt:")?,
            ns: field(fdinfo, "run_time_ns:")?,
            // Since 5.12.
            recursion_misses: field(fdinfo, "recursion_misses:").unwrap_or(0),
        };
        Some((field(fdinfo, "prog_id:")?, counts))
    }
}

/// All programs that are loaded, as bpftool describes them.
pub(super) fn loaded(root: &Path) -> Result<Vec<Value>> {
    let mut bpftool = Command::new("bpftool");
    bpftool.args(["--json", "prog", "show"]).env("PATH", workspace::search_path(root));
    Ok(serde_json::from_str(&command::text(&mut bpftool)?)?)
}

/// Names of all loaded programs by id.
fn names(root: &Path) -> Result<BTreeMap<u64, String>> {
    let name = |program: &Value| Some((program["id"].as_u64()?, program["name"].as_str()?.to_owned()));
    Ok(loaded(root)?.iter().filter_map(name).collect())
}

/// The kernel counts while this lives. A shell holds the setting and puts it back when our end of its stdin closes,
/// however this program ends.
struct Statistics(Child);

const HOLD: &str = "f=/proc/sys/kernel/bpf_stats_enabled; old=$(cat $f); trap 'echo $old >$f' EXIT
trap 'exit 1' INT TERM; echo 1 >$f && echo on && cat >/dev/null";

impl Statistics {
    fn on() -> Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", HOLD]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().context("cannot start sh")?;
        let mut said = [0; 3];
        shell
            .stdout
            .as_mut()
            .context("the shell has no stdout")?
            .read_exact(&mut said)
            .context("the kernel's statistics of eBPF programs cannot be turned on")?;
        Ok(Self(shell))
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read_as_the_kernel_writes_them() {
        let fdinfo =
            "pos:\t0\nprog_type:\t17\nprog_id:\t181\nrun_time_ns:\t900\nrun_cnt:\t3\nverified_insns:\t5\n";
        let counts = Counts { runs: 3, ns: 900, recursion_misses: 0 };
        assert_eq!(Counts::parse(fdinfo), Some((181, counts)));
        assert_eq!(Counts::parse("prog_id:\t1\n"), None);
    }
}
