//! What a process runs, from `/proc`, only where it is certain to be the very process that was seen: the
//! same pid, start time and name. Pids are reused and processes exec; a wrong path is worse than none.

use std::{collections::HashMap, fs, path::Path};

use crate::domain::Process;

/// Processes remembered at once; the cache is emptied when it is full.
const REMEMBERED: usize = 4096;

/// A cache of executables.
#[derive(Default)]
pub struct Processes {
    /// By pid, start and name.
    known: HashMap<(u32, u64, String), Option<String>>,
}

impl Processes {
    /// Path of the executable of exactly this process.
    pub fn exe(&mut self, process: &Process) -> Option<String> {
        if process.pid == 0 || process.started_ns == 0 {
            return None;
        }
        let key = (process.pid, process.started_ns, process.name.clone());
        if let Some(exe) = self.known.get(&key) {
            return exe.clone();
        }
        let exe = read_exe(Path::new("/proc"), process, rustix::param::clock_ticks_per_second());
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(key, exe.clone());
        exe
    }
}

/// Reads `exe` and, after it, `stat`: if that is still the same process, so was the one before.
fn read_exe(proc: &Path, process: &Process, ticks_per_second: u64) -> Option<String> {
    let directory = proc.join(process.pid.to_string());
    let exe = fs::read_link(directory.join("exe")).ok()?;
    let stat = fs::read(directory.join("stat")).ok()?;
    let (name, started_ticks) = parse_stat(&stat)?;
    let ns_per_tick = 1_000_000_000 / ticks_per_second;
    let same = started_ticks == process.started_ns / ns_per_tick && name == process.name;
    same.then(|| exe.to_string_lossy().into_owned())
}

/// Name (field 2) and start time in clock ticks since boot (field 22) of a `stat` file, proc(5). The name is
/// in parentheses and may itself contain anything, parentheses too.
fn parse_stat(stat: &[u8]) -> Option<(String, u64)> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let name = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    let started = rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
    Some((name, started))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_contain_parentheses_and_spaces() {
        let stat = b"12 (a) (b c) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 8675309 1 2 3";
        assert_eq!(parse_stat(stat), Some(("a) (b c".to_owned(), 8_675_309)));
        assert_eq!(parse_stat(b"12 (cut"), None);
        assert_eq!(parse_stat(b") ("), None);
    }

    #[test]
    fn another_start_or_name_is_another_process() {
        let stat = fs::read("/proc/self/stat").unwrap();
        let (name, ticks) = parse_stat(&stat).unwrap();
        let me =
            Process { pid: std::process::id(), started_ns: ticks * 10_000_000, name, ..Process::default() };
        let exe = read_exe(Path::new("/proc"), &me, 100);
        assert_eq!(exe.as_deref(), std::env::current_exe().unwrap().to_str());
        let later = Process { started_ns: me.started_ns + 10_000_000, ..me.clone() };
        assert_eq!(read_exe(Path::new("/proc"), &later, 100), None);
        let renamed = Process { name: "other".into(), ..me };
        assert_eq!(read_exe(Path::new("/proc"), &renamed, 100), None);
    }
}
