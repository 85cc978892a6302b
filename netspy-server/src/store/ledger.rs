//! Losses that could not be written yet: a full disk must not make the ledger forget what it cost. Every answer
//! counts them, and the next transaction that succeeds takes them along.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::{Loss, Window};

/// Entries kept apart; then the latest of a place and kind stands for what follows.
const MOST: usize = 4_096;
const SECOND_NS: i64 = 1_000_000_000;

/// Shared by the writer and the readers.
#[derive(Debug, Default)]
pub(super) struct Unwritten(Mutex<Vec<Loss>>);

impl Unwritten {
    /// Nobody else writes or reads the ledger meanwhile.
    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Loss>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a loss to those that are unwritten, as one with another of the same second, place and kind.
pub(super) fn add(unwritten: &mut Vec<Loss>, loss: Loss) {
    let full = unwritten.len() >= MOST;
    let near = |known: &&mut Loss| {
        (known.place, known.kind) == (loss.place, loss.kind)
            && (full || loss.wall_ns.abs_diff(known.wall_ns) < SECOND_NS.unsigned_abs())
    };
    match unwritten.iter_mut().rev().find(near) {
        Some(known) => known.count = known.count.saturating_add(loss.count),
        None => unwritten.push(loss),
    }
}

/// Those of a window.
pub(super) fn within(unwritten: &[Loss], window: Window) -> impl Iterator<Item = &Loss> {
    unwritten.iter().filter(move |loss| (window.since_ns..=window.until_ns).contains(&loss.wall_ns))
}
