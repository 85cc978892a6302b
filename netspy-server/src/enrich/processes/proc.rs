//! Processes as `/proc` shows them, and how certain it is that one of them is the process that was seen.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use netspy_common::ARGUMENTS_LEN;

use crate::domain::Thread;

/// The clock that `/proc` counts in: `USER_HZ`, 100 on every architecture that netspy supports.
pub const NS_PER_TICK: u64 = 10_000_000;

/// A process at the moment at which it was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its process id.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Its start in clock ticks since boot.
    pub started_ticks: u64,
    /// Its name (`comm`).
    pub name: String,
    /// Path of its executable; `None` for a thread of the kernel.
    pub exe: Option<String>,
    /// Its first arguments, each ended by NUL.
    pub arguments: Vec<u8>,
    /// Length of all its arguments in bytes, or one more than what was read.
    pub arguments_length: usize,
}

impl Found {
    /// Looks at the process in `directory` (`/proc/PID`). `stat` comes last: if that is still the same process, so
    /// was what came before.
    pub fn read(directory: &Path) -> Option<Self> {
        let exe = fs::read_link(directory.join("exe")).ok().map(|exe| {
            // So that a program is the same before and after its file was replaced.
            let exe = exe.to_string_lossy();
            exe.strip_suffix(" (deleted)").unwrap_or(&exe).to_owned()
        });
        let mut arguments = Vec::new();
        if let Ok(file) = File::open(directory.join("cmdline")) {
            let _ = file.take(ARGUMENTS_LEN as u64 + 1).read_to_end(&mut arguments);
        }
        let arguments_length = arguments.len();
        arguments.truncate(ARGUMENTS_LEN);
        let stat = parse_stat(&fs::read(directory.join("stat")).ok()?)?;
        Some(Self { exe, arguments, arguments_length, ..stat })
    }

    /// Whether it is the thread's process and still runs the same program, as far as its name tells.
    pub fn is(&self, thread: &Thread) -> bool {
        self.started_ticks == ticks(thread.started_ns) && self.name == thread.process_name()
    }
}

/// Clock ticks since boot of a time in ns since boot.
pub fn ticks(started_ns: u64) -> u64 {
    started_ns / NS_PER_TICK
}

/// Whether the process in `directory` (`/proc/PID`) is the thread's.
pub fn same_process(directory: &Path, thread: &Thread) -> bool {
    let stat = fs::read(directory.join("stat")).ok().and_then(|stat| parse_stat(&stat));
    stat.is_some_and(|found| found.started_ticks == ticks(thread.started_ns))
}

/// Pid, name, parent and start (fields 1, 2, 4 and 22) of a `stat` file, proc(5). The name is in parentheses and may
/// itself contain anything, parentheses too.
fn parse_stat(stat: &[u8]) -> Option<Found> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let name = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
    let pid = std::str::from_utf8(&stat[..open]).ok()?.trim().parse().ok()?;
    let mut rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?.split_ascii_whitespace();
    let parent = rest.nth(4 - 3)?.parse().ok()?;
    let started_ticks = rest.nth(22 - 5)?.parse().ok()?;
    Some(Found { pid, parent, started_ticks, name, ..Found::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_contain_parentheses_and_spaces() {
        let stat = b"12 (a) (b c) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 8675309 1 2 3";
        let found = parse_stat(stat).unwrap();
        assert_eq!((found.pid, found.parent, found.started_ticks), (12, 1, 8_675_309));
        assert_eq!(found.name, "a) (b c");
        assert_eq!(parse_stat(b"12 (cut"), None);
        assert_eq!(parse_stat(b") ("), None);
    }

    #[test]
    fn another_start_or_name_is_another_process() {
        let directory = Path::new("/proc/self");
        let me = Found::read(directory).unwrap();
        assert_eq!(me.exe.as_deref(), std::env::current_exe().unwrap().to_str());
        assert_eq!(me.pid, std::process::id());
        assert!(!me.arguments.is_empty());
        let mut thread = Thread { started_ns: me.started_ticks * NS_PER_TICK + 1, ..Thread::default() };
        thread.name[..me.name.len()].copy_from_slice(me.name.as_bytes());
        assert!(me.is(&thread) && same_process(directory, &thread));
        let later = Thread { started_ns: thread.started_ns + NS_PER_TICK, ..thread };
        assert!(!me.is(&later) && !same_process(directory, &later));
        assert!(!me.is(&Thread { name: [b'x'; 16], ..thread }));
    }
}
