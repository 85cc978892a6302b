//! Facts about this machine that records need: what a process is, what a kernel address is called.
//! Depends on `domain` only.

mod cgroups;
mod processes;
mod symbols;

use crate::domain::{Host, Identity, KernelNames, ProcessEvent, Thread};
use cgroups::Cgroups;
pub use processes::Cmdline;
use processes::Processes;
use symbols::Symbols;

/// The machine that the server runs on.
pub struct Machine {
    processes: Processes,
    cgroups: Cgroups,
    symbols: Symbols,
    names: KernelNames,
}

impl Machine {
    /// `names`: what the running kernel calls its numbers. `told`: whether the kernel tells what happens to
    /// processes. `cmdline`: what is kept of their arguments.
    pub fn new(names: KernelNames, told: bool, cmdline: Cmdline) -> Self {
        Self {
            processes: Processes::new("/proc".into(), told, cmdline),
            cgroups: Cgroups::new("/proc".into()),
            symbols: Symbols::open(),
            names,
        }
    }
}

impl Host for Machine {
    fn process(&mut self, event: &ProcessEvent) {
        self.processes.happened(event);
    }

    fn identify(&mut self, thread: &Thread) -> Identity {
        if thread.pid == 0 || thread.started_ns == 0 {
            return Identity::default();
        }
        let mut identity = self.processes.identify(thread);
        let place = self.cgroups.place(thread, |now| processes::same_process(now, thread));
        identity.unit = place.unit;
        identity.container_id = place.container_id;
        identity.pod_uid = place.pod_uid;
        identity
    }

    fn symbol(&mut self, address: u64) -> Option<String> {
        self.symbols.name(address)
    }

    fn kernel_names(&self) -> &KernelNames {
        &self.names
    }
}
