//! The programs that the server has in the kernel, as the kernel sees them.

/// What one of them has cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramCost {
    /// Its name; where the kernel does not list it, its tag.
    pub name: String,
    /// How often it has run, while the kernel counted.
    pub runs: u64,
    /// How long, in ns.
    pub run_ns: u64,
}

/// What the kernel says of the programs that this process holds.
pub trait Programs: Send + Sync {
    /// Each of them; `None` where the kernel does not measure (`kernel.bpf_stats_enabled` is 0).
    fn costs(&self) -> Option<Vec<ProgramCost>>;

    /// What was attached when the server began, and is not any more, in words.
    fn detached(&self) -> Vec<String>;
}
