//! Facts about this machine that records need: what a process runs, what a kernel address is called.
//! Depends on `domain` only.

mod processes;
mod symbols;

use std::collections::BTreeMap;

use crate::domain::{Host, Process};
use processes::Processes;
use symbols::Symbols;

/// The machine that the server runs on.
pub struct Machine {
    processes: Processes,
    symbols: Symbols,
    drop_reasons: BTreeMap<u32, String>,
}

impl Machine {
    /// `drop_reasons`: the running kernel's names.
    pub fn new(drop_reasons: BTreeMap<u32, String>) -> Self {
        Self { processes: Processes::default(), symbols: Symbols::default(), drop_reasons }
    }
}

impl Host for Machine {
    fn exe(&mut self, process: &Process) -> Option<String> {
        self.processes.exe(process)
    }

    fn symbol(&mut self, address: u64) -> Option<String> {
        self.symbols.name(address)
    }

    fn drop_reason(&self, code: u32) -> Option<String> {
        self.drop_reasons.get(&code).cloned()
    }
}
