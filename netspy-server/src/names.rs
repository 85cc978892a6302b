//! The names that records lack: each is asked of the host once and then shared.

use std::{collections::HashMap, sync::Arc};

use crate::domain::{Host, NO_REASON, Process, ProcessEvent, Thread};

/// Threads remembered at once; all are forgotten when there are more.
const MAX_THREADS: usize = 16_384;

/// A host, and what it has answered.
pub struct Names {
    host: Box<dyn Host>,
    threads: HashMap<Thread, Arc<Process>>,
}

impl Names {
    /// Nothing was asked yet.
    pub fn new(host: Box<dyn Host>) -> Self {
        Self { host, threads: HashMap::new() }
    }

    /// A process began, changed or ended. What is known of its threads stays true: a new program has a new
    /// `exec_id`, a new process another start.
    pub fn process_event(&mut self, event: &ProcessEvent) {
        self.host.process(event);
    }

    /// The process of a thread.
    pub fn process(&mut self, thread: &Thread) -> Arc<Process> {
        if let Some(known) = self.threads.get(thread) {
            return known.clone();
        }
        let mut process = Process::of_thread(thread);
        process.identity = Arc::new(self.host.identify(thread));
        if self.threads.len() >= MAX_THREADS {
            self.threads.clear();
        }
        let process = Arc::new(process);
        self.threads.insert(*thread, process.clone());
        process
    }

    /// What a drop reason is called.
    pub fn drop_reason(&self, code: Option<u32>) -> String {
        code.map_or_else(|| NO_REASON.to_owned(), |code| self.host.kernel_names().drop_reason(code))
    }

    /// What the reason of a RST is called.
    pub fn reset_reason(&self, code: u32) -> String {
        self.host.kernel_names().reset_reason(code)
    }

    /// Where in the kernel it was dropped.
    pub fn location(&mut self, address: u64) -> String {
        self.host.symbol(address).unwrap_or_else(|| "unresolved".to_owned())
    }
}
