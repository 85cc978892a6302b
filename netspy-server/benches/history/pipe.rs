//! A trace's way into a store: the whole pipeline, as the server runs it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use netspy_server::domain::{Barrier, Host, Identity, KernelNames, ProcessEvent, Sink, Thread};
use netspy_server::feed::Feed;
use netspy_server::pipeline::{Gate, Pipeline};

use super::trace::Trace;

/// A pipeline at work.
pub(super) struct Running {
    /// The way into it.
    pub(super) gate: Arc<Gate>,
    /// Where what is written is told on.
    pub(super) feed: Arc<Feed>,
    finished: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<()>>,
}

impl Running {
    pub(super) fn begin(sink: Box<dyn Sink>, trace: Trace) -> Self {
        let (finished, feed) = (trace.finished(), Arc::<Feed>::default());
        let (pipeline, gate): (Pipeline, Gate) =
            Pipeline::new(Box::new(trace), Box::new(Names::default()), sink, feed.clone()).unwrap();
        Self { gate: Arc::new(gate), feed, finished, thread: std::thread::spawn(|| pipeline.run()) }
    }

    /// Whether all of the trace was handed over.
    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// Waits until all of the trace is in the store.
    pub(super) fn written(&self) {
        while !self.is_finished() {
            sleep(Duration::from_millis(5));
        }
        self.gate.wait().unwrap();
    }

    /// The same, and ends it.
    pub(super) fn finish(self) {
        self.written();
        self.gate.stop();
        self.thread.join().unwrap().unwrap();
    }
}

/// Returns when all of the trace is in the store.
pub(super) fn run(sink: Box<dyn Sink>, trace: Trace) {
    Running::begin(sink, trace).finish();
}

/// Who and where, without a machine.
#[derive(Default)]
struct Names(KernelNames);

impl Host for Names {
    fn process(&mut self, _event: &ProcessEvent) {}

    fn identify(&mut self, thread: &Thread) -> Identity {
        Identity { exe: Some(format!("/usr/bin/{}", thread.process_name())), ..Identity::default() }
    }

    fn symbol(&mut self, address: u64) -> Option<String> {
        Some(format!("tcp_v4_rcv+{address:#x}"))
    }

    fn kernel_names(&self) -> &KernelNames {
        &self.0
    }
}
