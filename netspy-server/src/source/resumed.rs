//! A source some of whose output was taken out before the pipeline began: that comes first.

use std::io;

use crate::domain::{FlowReading, Input, KeptInput, Rest, Source};

/// A source and what it has delivered already.
pub struct ResumedSource<S> {
    kept: Vec<KeptInput>,
    inner: S,
}

impl<S> ResumedSource<S> {
    /// Delivers `kept`, then what `inner` does.
    pub fn new(kept: Vec<KeptInput>, inner: S) -> Self {
        Self { kept, inner }
    }
}

impl<S: Source> Source for ResumedSource<S> {
    fn drain(&mut self, take: &mut dyn FnMut(Input<'_>)) -> io::Result<bool> {
        for kept in std::mem::take(&mut self.kept) {
            take(kept.as_input());
        }
        self.inner.drain(take)
    }

    fn read_flows(&mut self, readings: &[FlowReading], take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        self.inner.read_flows(readings, take)
    }

    fn settle(&mut self, take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        self.inner.settle(take)
    }

    fn rests(&self) -> bool {
        self.kept.is_empty() && self.inner.rests()
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
