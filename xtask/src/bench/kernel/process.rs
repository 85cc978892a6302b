//! What the kernel says of a running process, and of all together: CPU time, switches, memory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::workload::Made;

/// Who used the CPUs while the generator made something.
pub(super) struct Watch {
    pid: u32,
    tool_ns: u64,
    busy_ns: u64,
}

impl Watch {
    /// From now on; `pid` is the tool that watches the generator.
    pub(super) fn start(pid: u32) -> Result<Self> {
        Ok(Self { pid, tool_ns: cpu_ns(pid)?, busy_ns: machine_busy_ns()? })
    }

    /// CPU time of the tool until now, in ns.
    pub(super) fn tool_ns(&self) -> Result<u64> {
        Ok(cpu_ns(self.pid)? - self.tool_ns)
    }

    /// What neither the generator nor the tool did until now, in CPUs.
    pub(super) fn others(&self, made: Made) -> Result<f64> {
        let ours = self.tool_ns()? + made.cpu_ns;
        Ok((machine_busy_ns()? - self.busy_ns).saturating_sub(ours) as f64 / made.wall_ns as f64)
    }
}

/// CPU time of a process with all its threads, in ns.
pub(super) fn cpu_ns(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    // Behind the name, which may hold anything: field 14 is user, 15 is system time (proc(5)).
    let rest = stat.rsplit_once(')').context("a stat file without a name")?.1;
    let ticks: u64 = rest.split_whitespace().skip(14 - 3).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Ok(ticks * ns_per_tick())
}

/// CPU time that the whole machine has spent on something, in ns.
fn machine_busy_ns() -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    Ok(busy_ticks(&stat).context("/proc/stat has no line for all CPUs")? * ns_per_tick())
}

/// user, nice, system, (idle, iowait), irq, softirq.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|tick| tick.parse().ok()).collect();
    Some(ticks.get(..3)?.iter().chain(ticks.get(5..7)?).sum())
}

fn ns_per_tick() -> u64 {
    1_000_000_000 / rustix::param::clock_ticks_per_second()
}

/// How often each thread of a process has gone to sleep.
pub(super) struct Sleeps(BTreeMap<OsString, u64>);

impl Sleeps {
    pub(super) fn of(pid: u32) -> Result<Self> {
        let mut sleeps = BTreeMap::new();
        for thread in fs::read_dir(format!("/proc/{pid}/task")).context("the process is gone")? {
            let thread = thread?;
            // One that has just ended cannot be read any more.
            if let Ok(count) = number(&thread.path().join("status"), "voluntary_ctxt_switches:") {
                sleeps.insert(thread.file_name(), count);
            }
        }
        Ok(Self(sleeps))
    }

    /// How often its threads woke since: as often as they went to sleep, and those that ended woke once to do so.
    pub(super) fn wakeups_since(&self, before: &Self) -> u64 {
        let ended = before.0.keys().filter(|thread| !self.0.contains_key(*thread)).count();
        let slept = self.0.iter().map(|(thread, now)| now - before.0.get(thread).copied().unwrap_or(0));
        slept.sum::<u64>() + ended as u64
    }
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Memory {
    /// Resident pages, the rings' twice: they are mapped twice.
    pub(super) rss_kib: u64,
    /// Each page divided by the number of its mappings.
    pub(super) pss_kib: u64,
}

impl Memory {
    pub(super) fn of(pid: u32) -> Result<Self> {
        let rss_kib = number(&format!("/proc/{pid}/status").into(), "VmRSS:")?;
        let pss_kib = number(&format!("/proc/{pid}/smaps_rollup").into(), "Pss:")?;
        Ok(Self { rss_kib, pss_kib })
    }
}

/// The number behind a name at the beginning of a line.
fn number(path: &PathBuf, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    field(&text, name).with_context(|| format!("{} has no number after {name}", path.display()))
}

/// The number behind `name` at the beginning of a line.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_everything_but_idle_and_waiting() {
        assert_eq!(busy_ticks("cpu  1 2 4 100 200 8 16 0 0 0\ncpu0 9 9 9\n"), Some(31));
        assert_eq!(busy_ticks("cpu  1 2\n"), None);
    }

    #[test]
    fn a_field_is_found_at_the_beginning_of_its_line_only() {
        let text = "nonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t3\nVmRSS:\t  12 kB\n";
        assert_eq!(field(text, "voluntary_ctxt_switches:"), Some(3));
        assert_eq!(field(text, "VmRSS:"), Some(12));
        assert_eq!(field(text, "Pss:"), None);
    }

    #[test]
    fn threads_that_come_and_go_are_wakeups_too() {
        let sleeps = |threads: &[(&str, u64)]| {
            Sleeps(threads.iter().map(|(name, count)| (OsString::from(name), *count)).collect())
        };
        let before = sleeps(&[("1", 10), ("2", 500)]);
        assert_eq!(sleeps(&[("1", 13), ("3", 2)]).wakeups_since(&before), 3 + 2 + 1);
        assert_eq!(before.wakeups_since(&before), 0);
    }

    #[test]
    fn this_process_can_be_read() {
        let me = std::process::id();
        let memory = Memory::of(me).unwrap();
        assert!(memory.rss_kib > 0 && memory.pss_kib <= memory.rss_kib);
        assert!(Sleeps::of(me).is_ok() && cpu_ns(me).is_ok());
        assert!(machine_busy_ns().unwrap() > 0);
    }
}
