//! The same batches into two stores, and what each of them costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use netspy_server::domain::{Batch, HistoryError, Loss, Sink};
use rustix::time::{ClockId, clock_gettime};

use crate::{report, timed};

/// Time that two stores took to write, in ns: by the clock, and of the writing thread's CPU.
#[derive(Debug, Default)]
pub(crate) struct Costs {
    wall_ns: [AtomicU64; 2],
    cpu_ns: [AtomicU64; 2],
    longest_ns: [AtomicU64; 2],
}

impl Costs {
    pub(crate) fn report(&self, what: &str, connections: u64) {
        let seconds = |times: &[AtomicU64; 2], of: usize| times[of].load(Ordering::Relaxed) as f64 / 1e9;
        let rates = |times| [0, 1].map(|of| connections as f64 / seconds(times, of));
        let [sqlite, columnar] = rates(&self.wall_ns);
        report(what, "connections/s", sqlite, columnar);
        let [sqlite, columnar] = rates(&self.cpu_ns);
        report(what, "connections/CPU s", sqlite, columnar);
        let [sqlite, columnar] = [0, 1].map(|of| seconds(&self.longest_ns, of) * 1e3);
        report(what, "ms longest batch", sqlite, columnar);
    }
}

/// Writes into both, the one that was second first.
pub(crate) struct Both {
    sinks: [Box<dyn Sink>; 2],
    costs: Arc<Costs>,
    first: usize,
}

impl Both {
    pub(crate) fn new(sinks: [Box<dyn Sink>; 2], costs: &Arc<Costs>) -> Self {
        Self { sinks, costs: Arc::clone(costs), first: 0 }
    }
}

impl Sink for Both {
    fn write_all(&mut self, batches: &[Batch]) -> Result<Vec<Loss>, HistoryError> {
        let cpu = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default();
        let mut losses = Vec::new();
        for of in [self.first, 1 - self.first] {
            let before = cpu();
            let (written, took) = timed(|| self.sinks[of].write_all(batches));
            let used = cpu().saturating_sub(before);
            self.costs.wall_ns[of].fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
            self.costs.cpu_ns[of].fetch_add(used.as_nanos() as u64, Ordering::Relaxed);
            self.costs.longest_ns[of].fetch_max(took.as_nanos() as u64, Ordering::Relaxed);
            losses = written?;
            assert!(losses.is_empty(), "the trace holds nothing that comes too late");
        }
        self.first = 1 - self.first;
        Ok(losses)
    }
}
