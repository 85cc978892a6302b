//! Answers that hold until something is written: what many ask, at once or again and again, is read from the history once.
//!
//! A question still waits for the barrier, so that what happened before it would have been written by now. Nothing is
//! guessed: an answer is given again only to the same question, asked in the same tenth of a second (for sums, the same second),
//! from the same history.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use tokio::sync::OnceCell;

use super::query::{ListQuery, SummaryQuery, TopQuery};

/// Questions that are remembered.
const MOST: usize = 16;
/// Longer answers are not.
const MOST_BYTES: usize = 256 * 1024;

/// What is asked, and of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    ConnectionSummary(SummaryQuery),
    DropSummary(SummaryQuery),
    ConnectionList(ListQuery),
    DropList(ListQuery),
    Top(TopQuery),
}

/// The answers that are remembered; clones of the API's state share them.
#[derive(Debug, Default)]
pub struct Answers(Mutex<Vec<Kept>>);

#[derive(Debug)]
struct Kept {
    question: Question,
    /// Of the history, see [`Feed::version`](crate::feed::Feed::version).
    version: u64,
    answer: Answer,
}

/// An answer as JSON, once the first who asked has read it.
pub(super) type Answer = Arc<OnceCell<Bytes>>;

impl Answers {
    /// The answer to a question from this version of the history: that of before the history is read.
    pub(super) fn to(&self, question: Question, version: u64) -> Answer {
        let mut kept = self.lock();
        if let Some(known) = kept.iter().find(|kept| kept.version == version && kept.question == question) {
            return known.answer.clone();
        }
        kept.retain(|kept| kept.version >= version && kept.is_short());
        if kept.len() == MOST {
            kept.remove(0);
        }
        let answer = Answer::default();
        kept.push(Kept { question, version, answer: answer.clone() });
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn is_short(&self) -> bool {
        self.answer.get().is_none_or(|body| body.len() <= MOST_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::super::params::Params;
    use super::*;

    const TENTH: i64 = 100_000_000;

    /// A summary of the minute before.
    fn asked(now_ns: i64, body: &str) -> Question {
        let params = Params::from_body(body.as_bytes()).unwrap();
        Question::ConnectionSummary(SummaryQuery::parse(&params, now_ns).unwrap())
    }

    fn read(answers: &Answers, version: u64, question: Question, bytes: usize) {
        answers.to(question, version).set(vec![b' '; bytes].into()).unwrap();
    }

    #[test]
    fn an_answer_is_given_again_only_where_it_would_be_the_same() {
        let (answers, now) = (Answers::default(), 10_000 * TENTH + 5);
        let is_known = |version, question| answers.to(question, version).initialized();
        assert!(!is_known(7, asked(now, "")));
        let at_once = answers.to(asked(now, ""), 7);
        read(&answers, 7, asked(now, ""), 2);
        assert!(at_once.initialized(), "of those who ask at once one reads");
        assert!(is_known(7, asked(now, "")) && is_known(7, asked(now + TENTH - 6, "")));
        assert!(!is_known(7, asked(now + TENTH, "")), "an event may have left the window");
        assert!(!is_known(7, asked(now - 6, "")), "the clock was set back");
        assert!(!is_known(7, asked(now, r#"{"pid":1}"#)), "somebody else is asked for");
        assert!(!is_known(7, asked(now, r#"{"until":"0s"}"#)), "this one ends now");
        let Question::ConnectionSummary(query) = asked(now, "") else { panic!() };
        assert!(!is_known(7, Question::DropSummary(query)));
        assert!(!is_known(8, asked(now, "")), "something was written");
        assert!(!is_known(7, asked(now, "")), "what was of use before is not any more");
    }

    #[test]
    fn few_and_short_ones_are_remembered() {
        let answers = Answers::default();
        let of = |pid: usize| asked(TENTH, &format!(r#"{{"pid":{}}}"#, pid + 1));
        read(&answers, 1, of(0), MOST_BYTES + 1);
        read(&answers, 1, of(1), MOST_BYTES);
        assert!(!answers.to(of(0), 1).initialized() && answers.to(of(1), 1).initialized());
        for pid in 2..=MOST + 1 {
            read(&answers, 1, of(pid), 2);
        }
        assert_eq!(answers.lock().len(), MOST);
        assert!(answers.to(of(2), 1).initialized());
        assert!(!answers.to(of(1), 1).initialized(), "the oldest has gone");
    }
}
