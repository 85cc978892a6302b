//! What a process is: from what the kernel tells of its life, and from `/proc` where that began before netspy or was
//! lost. A wrong name is worse than none: pids are reused, processes execute other programs, and `/proc` shows
//! only who is there now.

mod cmdline;
mod proc;
mod table;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::domain::{Ancestor, Identity, ProcessEvent, Thread};
pub use cmdline::Cmdline;
use proc::Found;
pub use proc::same_process;
use table::{Chain, GENERATIONS, Image, Seen, Table};

/// A table full of living processes is not compared with `/proc` more often than this.
const SWEEP_AFTER: Duration = Duration::from_secs(10);

/// Every process that is known.
pub struct Processes {
    proc: PathBuf,
    /// Whether the kernel tells what happens to processes.
    told: bool,
    cmdline: Cmdline,
    table: Table,
    swept_at: Option<Instant>,
}

impl Processes {
    /// Looks at the processes that there are if the kernel will tell what becomes of them (`told`). `proc` is
    /// `/proc`.
    pub fn new(proc: PathBuf, told: bool, cmdline: Cmdline) -> Self {
        let mut processes = Self { proc, told, cmdline, table: Table::default(), swept_at: None };
        if told {
            let entries = fs::read_dir(&processes.proc).into_iter().flatten().flatten();
            let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
            let found: Vec<_> = entries
                .filter(|entry| entry.file_name().to_str().is_some_and(is_process))
                .filter_map(|entry| Found::read(&entry.path()))
                .map(|found| (processes.image(&found), found))
                .collect();
            processes.table.found(found);
        }
        processes
    }

    /// The kernel tells that something happened to a process.
    pub fn happened(&mut self, event: &ProcessEvent) {
        match event {
            ProcessEvent::Forked { creator, child, parent } => {
                self.make_room();
                self.table.forked(creator, *child, *parent);
            }
            ProcessEvent::Executed { thread, parent, exe, arguments, arguments_length } => {
                self.make_room();
                let cmdline = self.cmdline.line(arguments, *arguments_length as usize);
                self.table.executed(thread, *parent, Image { exe: exe.clone(), cmdline });
            }
            ProcessEvent::Exited { process } => self.table.exited(*process),
        }
    }

    /// What the process of a thread was when the thread was seen.
    pub fn identify(&mut self, thread: &Thread) -> Identity {
        if self.table.see(thread, self.told) == Seen::Unknown
            && let Some(found) = Found::read(&self.proc.join(thread.pid.to_string()))
            && found.is(thread)
        {
            self.make_room();
            let parents = self.ancestors(&found);
            self.table.learnt(thread, self.image(&found), parents);
        }
        self.table.identity(thread)
    }

    /// A process's parents, from the table where the kernel tells who has ended, otherwise from `/proc`.
    fn ancestors(&mut self, of: &Found) -> Chain {
        let mut chain: Vec<_> = Vec::new();
        let (mut parent, mut youngest) = (of.parent, of.started_ticks);
        while parent != 0 && chain.len() < GENERATIONS {
            if self.told
                && let Some(known) = self.table.chain_of_living(parent)
            {
                chain.extend(known.iter().take(GENERATIONS - chain.len()).cloned());
                break;
            }
            let Some(found) = Found::read(&self.proc.join(parent.to_string())) else { break };
            if found.started_ticks > youngest {
                break; // the parent is gone, somebody else has its pid
            }
            (parent, youngest) = (found.parent, found.started_ticks);
            chain.push(Ancestor { pid: found.pid, name: found.name, exe: found.exe }.into());
        }
        chain.into()
    }

    fn image(&self, found: &Found) -> Image {
        let cmdline = self.cmdline.line(&found.arguments, found.arguments_length);
        Image { exe: found.exe.clone(), cmdline }
    }

    /// Forgets who has ended without the kernel's telling, if the table is full.
    fn make_room(&mut self) {
        if self.table.is_full() && self.swept_at.is_none_or(|at| at.elapsed() > SWEEP_AFTER) {
            self.swept_at = Some(Instant::now());
            self.table.retain(|pid| self.proc.join(pid.to_string()).exists());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ProcessId;

    /// This process as an event would name it.
    fn oneself() -> Thread {
        let found = Found::read(&PathBuf::from("/proc/self")).unwrap();
        let mut thread = Thread { pid: found.pid, tid: found.pid, exec_id: 7, ..Thread::default() };
        thread.started_ns = found.started_ticks * 10_000_000 + 1;
        thread.name[..found.name.len()].copy_from_slice(found.name.as_bytes());
        thread
    }

    fn check(identity: &Identity) {
        assert_eq!(identity.exe.as_deref(), std::env::current_exe().unwrap().to_str());
        assert!(!identity.cmdline.as_deref().unwrap().is_empty());
        assert_eq!(identity.parents[0].pid, std::os::unix::process::parent_id());
    }

    #[test]
    fn without_the_kernels_word_proc_is_asked() {
        let mut processes = Processes::new("/proc".into(), false, Cmdline::Full);
        check(&processes.identify(&oneself()));
        let impostor = Thread { started_ns: 1, ..oneself() };
        assert_eq!(processes.identify(&impostor), Identity::default());
    }

    #[test]
    fn who_was_there_before_is_known_and_so_is_what_they_become() {
        let mut processes = Processes::new("/proc".into(), true, Cmdline::Full);
        check(&processes.identify(&oneself()));
        let child = ProcessId { pid: u32::MAX, exec_id: 7, started_ns: u64::MAX };
        processes.happened(&ProcessEvent::Forked { creator: oneself(), child, parent: oneself().process() });
        let child = Thread { pid: child.pid, started_ns: child.started_ns, exec_id: 8, ..oneself() };
        processes.happened(&ProcessEvent::Executed {
            thread: child,
            parent: oneself().process(),
            exe: Some("/bin/true".to_owned()),
            arguments: b"true\0".to_vec(),
            arguments_length: 5,
        });
        processes.happened(&ProcessEvent::Exited { process: child.process() });
        let identity = processes.identify(&child);
        assert_eq!((identity.exe.as_deref(), identity.cmdline.as_deref()), (Some("/bin/true"), Some("true")));
        assert_eq!(identity.parents[0].pid, oneself().pid);
    }
}
