//! The way of a record: drain → decode → track → store. One thread runs it, another one writes; queries ask,
//! through a [`Gate`], that everything that has happened is written before they read.
//!
//! While nothing comes the thread sleeps, and who asks takes its turn: waking it would take longer than the turn does.

mod gate;
mod stages;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    domain::{Host, Sink, Source},
    feed::Feed,
};
pub use gate::Gate;
use gate::Gatekeeper;
use stages::Stages;

/// Whoever has locked them has the turn, and afterwards looks whether somebody has asked meanwhile. There are none when the
/// pipeline has ended.
type Turn = Arc<Mutex<Option<Stages>>>;

/// The pipeline's thread.
pub struct Pipeline {
    turn: Turn,
    gatekeeper: Gatekeeper,
}

impl Pipeline {
    /// A pipeline and the gate to it. What is written is told on through `feed`.
    pub fn new(
        source: Box<dyn Source>,
        host: Box<dyn Host>,
        sink: Box<dyn Sink>,
        feed: Arc<Feed>,
    ) -> io::Result<(Self, Gate)> {
        let turn = Arc::new(Mutex::new(Some(Stages::new(source, host, sink, feed)?)));
        let (gate, gatekeeper) = gate::open(turn.clone())?;
        Ok((Self { turn, gatekeeper }, gate))
    }

    /// Runs until it is asked to stop; everything that had been reported by then is written.
    pub fn run(self) -> io::Result<()> {
        loop {
            let mut turn = self.lock()?;
            let Some(stages) = turn.as_mut() else { return Ok(()) };
            let (questions, stop) = self.gatekeeper.take();
            stages.ask(questions);
            if stop {
                return turn.take().map_or(Ok(()), Stages::finish);
            }
            let Some(rest) = stages.next()? else { continue };
            drop(turn);
            if !self.gatekeeper.is_asked() && rest.wait(Some(self.gatekeeper.wake()))? {
                self.lock()?.as_mut().map_or(Ok(()), Stages::woken)?;
            }
        }
    }

    fn lock(&self) -> io::Result<MutexGuard<'_, Option<Stages>>> {
        let panicked =
            |_| io::Error::other("a turn of the pipeline panicked; please report it with the log above");
        self.turn.lock().map_err(panicked)
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // Those who wait are told nothing, and those who come find nobody.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
