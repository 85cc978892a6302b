//! The way into a running pipeline for other threads.
//!
//! Whoever asks while the pipeline is busy with others is answered with the next ones, all in one turn: a thousand
//! questions that come at once cost one look at the rings and one transaction.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::event::{EventfdFlags, eventfd};

use crate::domain::{Barrier, Told};

/// What is asked of the pipeline.
#[derive(Default)]
struct Asked {
    questions: Vec<Told>,
    /// To write what there is and end.
    stop: bool,
    /// Nobody will look here any more.
    ended: bool,
}

/// The side of those who ask.
pub struct Gate {
    asked: Arc<Mutex<Asked>>,
    wake: OwnedFd,
}

/// The side of the pipeline.
pub(super) struct Gatekeeper {
    asked: Arc<Mutex<Asked>>,
    wake: OwnedFd,
}

/// Both sides.
pub(super) fn open() -> io::Result<(Gate, Gatekeeper)> {
    let asked = Arc::<Mutex<Asked>>::default();
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let gate = Gate { asked: asked.clone(), wake: wake.try_clone()? };
    Ok((gate, Gatekeeper { asked, wake }))
}

impl Gate {
    /// Asks the pipeline to write what it has and end.
    pub fn stop(&self) {
        lock(&self.asked).stop = true;
        self.wake();
    }

    /// Whether the pipeline still takes its turns: it answers within the time, be it with an error.
    pub fn answers_within(&self, limit: Duration) -> bool {
        self.reached(limit).is_ok()
    }

    fn wake(&self) {
        // It fails only where the counter is full: then it is about to be read.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Barrier for Gate {
    fn ask(&self, told: Told) {
        let mut asked = lock(&self.asked);
        if asked.ended {
            return;
        }
        asked.questions.push(told);
        let is_first = asked.questions.len() == 1;
        drop(asked);
        // Who was before has woken the pipeline, or is about to.
        if is_first {
            self.wake();
        }
    }
}

impl Gatekeeper {
    /// Readable when somebody asks.
    pub(super) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Who has asked since the last time, and whether to stop.
    pub(super) fn take(&self) -> (Vec<Told>, bool) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]); // first: who asks from here on wakes it again
        let mut asked = lock(&self.asked);
        (std::mem::take(&mut asked.questions), asked.stop)
    }
}

impl Drop for Gatekeeper {
    fn drop(&mut self) {
        let mut asked = lock(&self.asked);
        asked.ended = true;
        asked.questions.clear();
    }
}

fn lock(asked: &Mutex<Asked>) -> MutexGuard<'_, Asked> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}
