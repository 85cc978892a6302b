//! Recording: whatever passes from a source and a host to the pipeline is also written to a file.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use super::trace::{Frame, TraceHeader, write_frame, write_header};
use crate::domain::{
    FlowReading, Host, Identity, Input, KernelNames, ProcessEvent, Rest, Ring, Source, Thread,
};

/// An open recording, shared by the source and the host that feed it.
#[derive(Clone)]
pub struct Recorder(Arc<Mutex<Open>>);

struct Open {
    /// `None` after a write failed: said once, and tracing goes on.
    out: Option<BufWriter<File>>,
}

impl Recorder {
    /// Creates the file, for its owner only; an existing one is replaced.
    pub fn create(path: &Path, header: &TraceHeader) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mut out = BufWriter::with_capacity(1 << 16, file);
        write_header(&mut out, header)?;
        Ok(Self(Arc::new(Mutex::new(Open { out: Some(out) }))))
    }

    /// Ends the recording: what has happened up to `wall_ns` is in it.
    pub fn finish(&self, wall_ns: i64) {
        self.write(&Frame::End(wall_ns));
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(error)) = open.out.as_mut().map(Write::flush) {
            tracing::error!(%error, "the end of the recording could not be written");
        }
    }

    /// Writes an input and hands it on.
    fn pass(&self, input: Input<'_>, take: &mut dyn FnMut(Input<'_>)) {
        self.write(&match input {
            Input::Record { ring: Ring::Events, bytes } => Frame::Events(bytes.to_vec()),
            Input::Record { ring: Ring::Drops, bytes } => Frame::Drops(bytes.to_vec()),
            Input::Lost { monotonic_ns, place, kind, count } => {
                let (place, kind) = (place.name().to_owned(), kind.name().to_owned());
                Frame::Lost { monotonic_ns, place, kind, count }
            }
            Input::Existing { monotonic_ns, socket } => {
                Frame::Existing { monotonic_ns, socket: Box::new(socket.clone()) }
            }
            Input::Listed { monotonic_ns } => Frame::Listed { monotonic_ns },
            Input::Clock { wall_minus_monotonic_ns } => Frame::Clock(wall_minus_monotonic_ns),
        });
        take(input);
    }

    fn write(&self, frame: &Frame) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(out) = open.out.as_mut() else { return };
        if let Err(error) = write_frame(out, frame) {
            tracing::error!(%error, "the recording ends here: it could not be written");
            open.out = None;
        }
    }
}

/// A source whose output is recorded.
pub struct RecordingSource<S> {
    inner: S,
    recorder: Recorder,
}

impl<S> RecordingSource<S> {
    /// Records what `inner` delivers.
    pub fn new(inner: S, recorder: Recorder) -> Self {
        Self { inner, recorder }
    }
}

impl<S: Source> Source for RecordingSource<S> {
    fn drain(&mut self, take: &mut dyn FnMut(Input<'_>)) -> io::Result<bool> {
        let Self { inner, recorder } = self;
        inner.drain(&mut |input| recorder.pass(input, take))
    }

    fn read_flows(&mut self, readings: &[FlowReading], take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        let Self { inner, recorder } = self;
        inner.read_flows(readings, &mut |input| recorder.pass(input, take))
    }

    fn settle(&mut self, take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        let Self { inner, recorder } = self;
        inner.settle(&mut |input| recorder.pass(input, take))
    }

    fn rests(&self) -> bool {
        self.inner.rests()
    }

    fn rest(&mut self) -> io::Result<Rest> {
        self.inner.rest()
    }

    fn woken(&mut self) -> io::Result<()> {
        self.inner.woken()
    }

    fn monotonic_ns(&self) -> u64 {
        self.inner.monotonic_ns()
    }
}

/// A host whose answers are recorded. The same answer may be recorded again: the reader keeps the first.
pub struct RecordingHost<H> {
    inner: H,
    recorder: Recorder,
}

impl<H> RecordingHost<H> {
    /// Records what `inner` answers.
    pub fn new(inner: H, recorder: Recorder) -> Self {
        Self { inner, recorder }
    }
}

impl<H: Host> Host for RecordingHost<H> {
    fn process(&mut self, event: &ProcessEvent) {
        self.inner.process(event);
    }

    fn identify(&mut self, thread: &Thread) -> Identity {
        let identity = self.inner.identify(thread);
        let (process, cgroup_id) = (thread.process(), thread.cgroup_id);
        self.recorder.write(&Frame::Identity { process, cgroup_id, identity: identity.clone() });
        identity
    }

    fn symbol(&mut self, address: u64) -> Option<String> {
        let symbol = self.inner.symbol(address)?;
        self.recorder.write(&Frame::Symbol { address, symbol: symbol.clone() });
        Some(symbol)
    }

    fn kernel_names(&self) -> &KernelNames {
        self.inner.kernel_names()
    }
}
