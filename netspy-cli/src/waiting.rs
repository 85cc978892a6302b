//! What a person is shown while an answer takes longer than a second: one line on standard error, gone when the
//! answer is there. Where standard error is no terminal, nothing.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::registry::Progress;
use crate::render::escape;

/// Nobody minds a second.
const SECOND: Duration = Duration::from_secs(1);
/// How often the line is painted: it shows seconds.
const REPAINT: Duration = Duration::from_millis(250);
/// To the beginning of the line, which is cleared.
const CLEAR: &str = "\r\x1b[K";
/// Columns of the line: it must not wrap, or it cannot be cleared.
const LONGEST: usize = 70;

/// What is being done at this moment.
pub(crate) struct Waiting(Mutex<String>);

impl Waiting {
    pub(crate) fn new() -> Self {
        Self(Mutex::new("waiting for the server".to_owned()))
    }

    /// Takes note of a step.
    pub(crate) fn step(&self, step: &Progress) {
        let counted = format!("{} ({}/{})", escape::text(&step.message), step.done, step.total);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counted;
    }

    /// Waits for an answer, and shows that and for how long.
    pub(crate) async fn during<T>(&self, answer: impl Future<Output = T>) -> T {
        if !io::stderr().is_terminal() {
            return answer.await;
        }
        tokio::pin!(answer);
        let begin = Instant::now();
        let mut repaint = interval_at(begin + SECOND, REPAINT);
        repaint.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // Dropped in any case: when the answer is there, and when nobody waits for it any more.
        let mut line = Line { is_painted: false };
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                _ = repaint.tick() => line.paint(&self.told(begin.elapsed())),
            }
        }
    }

    fn told(&self, waited: Duration) -> String {
        let what = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let what: String = what.chars().take(LONGEST).collect();
        format!("... {what}, {} s", waited.as_secs())
    }
}

struct Line {
    is_painted: bool,
}

impl Line {
    fn paint(&mut self, text: &str) {
        self.is_painted = true;
        // That nobody can read it is no reason to stop.
        let _ = write!(io::stderr().lock(), "{CLEAR}{text}");
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_painted {
            let _ = write!(io::stderr().lock(), "{CLEAR}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_is_shown_safely_and_on_one_line() {
        let waiting = Waiting::new();
        assert_eq!(waiting.told(Duration::from_millis(2900)), "... waiting for the server, 2 s");
        waiting.step(&Progress { done: 3, total: 14, message: "looking\u{1b}[2J\n".to_owned() });
        assert_eq!(waiting.told(SECOND), "... looking\\x1b[2J\\x0a (3/14), 1 s");
        waiting.step(&Progress { done: 1, total: 1, message: "x".repeat(500) });
        assert!(waiting.told(SECOND).len() < 80);
    }
}
