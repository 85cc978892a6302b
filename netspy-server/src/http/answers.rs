//! Answers that hold until something is written, or an event leaves their window: what many ask again and again is
//! read from the history once.
//!
//! A question still waits for the barrier, so that what happened before it would have been written by now. Nothing is
//! guessed: an answer is given again only in the same second, to the same question, from the same history.

use std::ops::RangeInclusive;
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

impl Question {
    /// Where its window begins, and all else that an answer is made of, to the second.
    pub(super) fn apart(self) -> (i64, Self) {
        match self {
            Self::ConnectionSummary(query) => query.apart(Self::ConnectionSummary),
            Self::DropSummary(query) => query.apart(Self::DropSummary),
            Self::ConnectionList(query) => query.apart(Self::ConnectionList),
            Self::DropList(query) => query.apart(Self::DropList),
            Self::Top(query) => query.apart(Self::Top),
        }
    }
}

/// What is known of a question.
pub(super) enum Known {
    /// The answer.
    Answer(Bytes),
    /// It was asked before, of this very history: it is worth finding out how long its answer holds.
    Asked,
    Nothing,
}

/// The answers that are remembered; clones of the API's state share them.
#[derive(Debug, Default)]
pub struct Answers(Mutex<Vec<Kept>>);

#[derive(Debug)]
struct Kept {
    question: Question,
    /// Of the history, see [`Feed::version`](crate::feed::Feed::version).
    version: u64,
    /// The answer, and where the window may begin that it is for, in ns since 1970.
    answer: Option<(RangeInclusive<i64>, Bytes)>,
}

impl Answers {
    /// The answer to a question, `apart`, if it is that of this version of the history.
    pub(super) fn find(&self, version: u64, (since_ns, question): &(i64, Question)) -> Known {
        let kept = self.lock();
        let known = kept.iter().find(|kept| kept.version == version && kept.question == *question);
        match known.map(|kept| &kept.answer) {
            Some(Some((since, body))) if since.contains(since_ns) => Known::Answer(body.clone()),
            Some(_) => Known::Asked,
            None => Known::Nothing,
        }
    }

    /// Remembers that it was asked; the last one wins.
    pub(super) fn asked(&self, version: u64, question: Question) {
        self.keep(Kept { question, version, answer: None });
    }

    /// Remembers its answer for windows that begin in this stretch. `version` is that of before the history was read.
    pub(super) fn answered(
        &self,
        version: u64,
        question: Question,
        since_ns: RangeInclusive<i64>,
        body: &Bytes,
    ) {
        if body.len() <= MOST_BYTES {
            self.keep(Kept { question, version, answer: Some((since_ns, body.clone())) });
        }
    }

    fn keep(&self, new: Kept) {
        let mut kept = self.lock();
        kept.retain(|kept| kept.question != new.question);
        if kept.len() == MOST {
            kept.remove(0);
        }
        kept.push(new);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Filter, Window};

    const SECOND: i64 = 1_000_000_000;

    /// A summary of the minute before.
    fn asked(now_ns: i64, pid: Option<u32>) -> (i64, Question) {
        let window = Window { since_ns: now_ns - 60 * SECOND, until_ns: i64::MAX };
        let query = SummaryQuery {
            filter: Filter { pid, ..Filter::within(window) },
            duration_seconds: 60,
            end_ns: now_ns,
            has_end: false,
            conditions: std::collections::BTreeMap::new(),
        };
        Question::ConnectionSummary(query).apart()
    }

    #[test]
    fn an_answer_is_given_again_only_where_it_would_be_the_same() {
        let (answers, now) = (Answers::default(), 1_000 * SECOND + 5);
        let is_known = |version, question| matches!(answers.find(version, &question), Known::Answer(_));
        assert!(matches!(answers.find(7, &asked(now, None)), Known::Nothing));
        let (since_ns, question) = asked(now, None);
        answers.asked(7, question.clone());
        assert!(matches!(answers.find(7, &asked(now, None)), Known::Asked));
        assert!(matches!(answers.find(8, &asked(now, None)), Known::Nothing));
        answers.answered(7, question, since_ns..=since_ns + 100, &Bytes::from_static(b"{}"));
        assert!(is_known(7, asked(now, None)) && is_known(7, asked(now + 100, None)));
        assert!(!is_known(7, asked(now + 101, None)), "an event has left the window");
        assert!(!is_known(7, asked(now - 1, None)), "the clock was set back");
        assert!(!is_known(8, asked(now, None)), "something was written");
        assert!(!is_known(7, asked(now, Some(1))), "somebody else is asked for");
        assert!(!is_known(7, asked(now + SECOND, None)), "it says when it was asked");
        let drops = match asked(now, None) {
            (since_ns, Question::ConnectionSummary(query)) => (since_ns, Question::DropSummary(query)),
            other => other,
        };
        assert!(!is_known(7, drops));
    }

    #[test]
    fn few_and_short_ones_are_remembered() {
        let answers = Answers::default();
        let long = Bytes::from(vec![b' '; MOST_BYTES + 1]);
        let (since_ns, question) = asked(SECOND, Some(1));
        answers.answered(1, question, since_ns..=since_ns, &long);
        assert!(matches!(answers.find(1, &asked(SECOND, Some(1))), Known::Nothing));
        for pid in 0..=MOST as u32 {
            answers.asked(1, asked(SECOND, Some(pid)).1);
        }
        assert!(matches!(answers.find(1, &asked(SECOND, Some(0))), Known::Nothing), "the oldest has gone");
        assert!(matches!(answers.find(1, &asked(SECOND, Some(1))), Known::Asked));
        assert_eq!(answers.lock().len(), MOST);
    }
}
