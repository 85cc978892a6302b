//! Who did it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A thread as the kernel named it at the moment of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Thread {
    /// Process id (tgid); 0 where nobody is known.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// Which of the programs that the process has executed; 0 where unknown.
    pub exec_id: u32,
    /// Id of the cgroup in the unified hierarchy; 0 where unknown.
    pub cgroup_id: u64,
    /// Start of the process in ns since boot; 0 where unknown. `(pid, started_ns)` is never reused. Whole clock ticks
    /// (`USER_HZ`) where the thread was found in `/proc`.
    pub started_ns: u64,
    /// Name of the thread (`comm`), NUL-padded.
    pub comm: [u8; 16],
    /// Name of the process (its first thread's `comm`), NUL-padded.
    pub name: [u8; 16],
}

impl Thread {
    /// Name of the process. Bytes that are not UTF-8 become U+FFFD.
    pub fn process_name(&self) -> String {
        text(&self.name)
    }

    /// The process and its program.
    pub fn process(&self) -> ProcessId {
        ProcessId { pid: self.pid, exec_id: self.exec_id, started_ns: self.started_ns }
    }
}

/// A thread at the moment of an event, and what is known of the process that it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Process {
    /// Process id (tgid); 0 where nobody is known.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// Id of the cgroup in the unified hierarchy; 0 where unknown.
    pub cgroup_id: u64,
    /// Start of the process in ns since boot; 0 where unknown. `(pid, started_ns)` is never reused.
    pub started_ns: u64,
    /// Name of the thread (`comm`), at most 15 bytes. Chosen by the process: hostile until escaped.
    pub comm: String,
    /// Name of the process (its first thread's `comm`), the same.
    pub name: String,
    /// What is known of the process beyond the record.
    pub identity: Arc<Identity>,
}

/// What a process is: the same for all its threads, from one exec to the next. Whatever the process chose itself
/// (all but `unit`, `container_id` and `pod_uid`) is hostile until escaped. Bytes that are not UTF-8 are U+FFFD.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// Path of its executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Its arguments in one line, in quotes where an end would not be clear; `…` ends one that was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
    /// Its parent, the parent's parent, …: as they were when each made the next.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<Ancestor>,
    /// The systemd service or scope that it runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Its container: the runtime's id, or the name of an LXC container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// Its Kubernetes pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
}

/// A process that made another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ancestor {
    /// Its process id.
    pub pid: u32,
    /// Its name (`comm`).
    pub name: String,
    /// Path of its executable, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
}

/// One program in one process: no other, before or after, has the same three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProcessId {
    /// Process id (tgid).
    pub pid: u32,
    /// Which of the programs that the process has executed.
    pub exec_id: u32,
    /// Start of the process in ns since boot.
    pub started_ns: u64,
}

/// What happens to processes. In order with the connections of the same source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessEvent {
    /// `creator` made `child`, which runs the same program.
    Forked {
        /// Who called fork.
        creator: Thread,
        /// The new process.
        child: ProcessId,
        /// Its parent, mostly the creator.
        parent: ProcessId,
    },
    /// A process runs another program from here on.
    Executed {
        /// Who; the names are the new program's.
        thread: Thread,
        /// Its parent at this moment.
        parent: ProcessId,
        /// Path of the executable; `None` where it was too long.
        exe: Option<String>,
        /// The first arguments, each ended by NUL.
        arguments: Vec<u8>,
        /// Length of all arguments in bytes.
        arguments_length: u32,
    },
    /// The last thread of a process ended.
    Exited {
        /// Which.
        process: ProcessId,
    },
}

impl Process {
    /// What the kernel said, and nothing else. Bytes that are not UTF-8 become U+FFFD.
    pub fn of_thread(thread: &Thread) -> Self {
        Self {
            pid: thread.pid,
            tid: thread.tid,
            uid: thread.uid,
            cgroup_id: thread.cgroup_id,
            started_ns: thread.started_ns,
            comm: text(&thread.comm),
            name: thread.process_name(),
            identity: Arc::default(),
        }
    }
}

fn text(padded: &[u8]) -> String {
    let end = padded.iter().position(|byte| *byte == 0).unwrap_or(padded.len());
    String::from_utf8_lossy(&padded[..end]).into_owned()
}
