//! Answers that hold until something is written: what many ask again and again is read from the history once.
//!
//! A question still waits for the barrier, so that what happened before it would have been written by now. Nothing is
//! guessed: an answer is given again only to the same question, asked in the same tenth of a second, from the same history.

use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;

use super::query::{ListQuery, SummaryQuery, TopQuery};

/// Questions that are remembered.
const MOST: usize = 64;
/// Longer answers are not.
const MOST_BYTES: usize = 64 * 1024;

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
    body: Bytes,
}

impl Answers {
    /// The answer to a question, if it is that of this version of the history.
    pub(super) fn find(&self, version: u64, question: &Question) -> Option<Bytes> {
        let kept = self.lock();
        let known = kept.iter().rev().find(|kept| kept.version == version && kept.question == *question);
        known.map(|kept| kept.body.clone())
    }

    /// Remembers an answer. `version` is that of before the history was read.
    pub(super) fn keep(&self, version: u64, question: Question, body: &Bytes) {
        if body.len() > MOST_BYTES {
            return;
        }
        let mut kept = self.lock();
        kept.retain(|kept| kept.version == version && kept.question != question);
        if kept.len() == MOST {
            kept.remove(0);
        }
        kept.push(Kept { question, version, body: body.clone() });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn an_answer_is_given_again_only_where_it_would_be_the_same() {
        let (answers, now) = (Answers::default(), 10_000 * TENTH + 5);
        let is_known = |version, question| answers.find(version, &question).is_some();
        assert!(!is_known(7, asked(now, "")));
        answers.keep(7, asked(now, ""), &Bytes::from_static(b"{}"));
        assert!(is_known(7, asked(now, "")) && is_known(7, asked(now + TENTH - 6, "")));
        assert!(!is_known(7, asked(now + TENTH, "")), "an event may have left the window");
        assert!(!is_known(7, asked(now - 6, "")), "the clock was set back");
        assert!(!is_known(8, asked(now, "")), "something was written");
        assert!(!is_known(7, asked(now, r#"{"pid":1}"#)), "somebody else is asked for");
        assert!(!is_known(7, asked(now, r#"{"until":"0s"}"#)), "this one ends now");
        let Question::ConnectionSummary(query) = asked(now, "") else { panic!() };
        assert!(!is_known(7, Question::DropSummary(query)));
    }

    #[test]
    fn few_and_short_ones_of_one_version_are_remembered() {
        let answers = Answers::default();
        let of = |pid: usize| asked(TENTH, &format!(r#"{{"pid":{}}}"#, pid + 1));
        answers.keep(1, of(0), &Bytes::from(vec![b' '; MOST_BYTES + 1]));
        assert_eq!(answers.find(1, &of(0)), None);
        for pid in 0..=MOST {
            answers.keep(1, of(pid), &Bytes::from_static(b"{}"));
        }
        assert_eq!(answers.find(1, &of(0)), None, "the oldest has gone");
        assert!(answers.find(1, &of(1)).is_some());
        assert_eq!(answers.lock().len(), MOST);
        answers.keep(2, of(0), &Bytes::from_static(b"{}"));
        assert_eq!(answers.lock().len(), 1, "the others are of no use any more");
    }
}
