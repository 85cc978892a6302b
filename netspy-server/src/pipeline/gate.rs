//! The way into a running pipeline for other threads.
//!
//! Whoever asks while the pipeline sleeps takes its turn; whoever asks while it is busy with others is answered with the next
//! ones, all in one turn: a thousand questions that come at once cost one look at the rings and one transaction.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    time::Duration,
};

use rustix::event::{EventfdFlags, eventfd};

use super::Turn;
use crate::domain::{Barrier, Told};

/// So many turns somebody takes who asks, if others ask meanwhile; then it is the thread's.
const MOST_TURNS: usize = 4;

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
    turn: Turn,
    asked: Arc<Mutex<Asked>>,
    wake: OwnedFd,
}

/// The side of the pipeline.
pub(super) struct Gatekeeper {
    asked: Arc<Mutex<Asked>>,
    wake: OwnedFd,
}

/// Both sides of the gate to it.
pub(super) fn open(turn: Turn) -> io::Result<(Gate, Gatekeeper)> {
    let asked = Arc::<Mutex<Asked>>::default();
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let gate = Gate { turn, asked: asked.clone(), wake: wake.try_clone()? };
    Ok((gate, Gatekeeper { asked, wake }))
}

impl Gate {
    /// Asks the pipeline to write what it has and end.
    pub fn stop(&self) {
        lock(&self.asked).stop = true;
        self.wake();
    }

    /// Whether the pipeline's thread still takes its turns: it answers within the time, be it with an error.
    pub fn answers_within(&self, limit: Duration) -> bool {
        Thread(self).reached(limit).is_ok()
    }

    fn put(&self, told: Told) {
        let mut asked = lock(&self.asked);
        if !asked.ended {
            asked.questions.push(told);
        }
    }

    /// Takes the turn if the pipeline sleeps, and answers all who wait; whether something is left for its thread. `None` where
    /// somebody has the turn, who will see what was asked.
    fn take_turn(&self) -> Option<bool> {
        let mut turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::WouldBlock) => return None,
            Err(TryLockError::Poisoned(_)) => return Some(true),
        };
        let Some(stages) = turn.as_mut().filter(|stages| stages.is_quiet()) else { return Some(true) };
        let questions = std::mem::take(&mut lock(&self.asked).questions);
        Some(stages.turn(questions))
    }

    fn wake(&self) {
        // It fails only where the counter is full: then it is about to be read.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Barrier for Gate {
    fn ask(&self, told: Told) {
        self.put(told);
        for _ in 0..MOST_TURNS {
            match self.take_turn() {
                None => return,
                Some(true) => break,
                Some(false) if !is_asked(&self.asked) => return,
                Some(false) => {}
            }
        }
        self.wake();
    }
}

/// What only the pipeline's thread answers.
struct Thread<'a>(&'a Gate);

impl Barrier for Thread<'_> {
    fn ask(&self, told: Told) {
        self.0.put(told);
        self.0.wake();
    }
}

impl Gatekeeper {
    /// Readable when somebody asks.
    pub(super) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Whether somebody has asked since the last time.
    pub(super) fn is_asked(&self) -> bool {
        is_asked(&self.asked)
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

fn is_asked(asked: &Mutex<Asked>) -> bool {
    !lock(asked).questions.is_empty()
}

fn lock(asked: &Mutex<Asked>) -> MutexGuard<'_, Asked> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}
