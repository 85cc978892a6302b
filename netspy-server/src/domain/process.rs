//! Who did it.

/// A thread at the moment of an event, and the process that it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Process id (tgid).
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
    /// Path of its executable, where it could still be read from the very same process.
    pub exe: Option<String>,
}
