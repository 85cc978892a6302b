//! Answers that hold until something is written: what many ask, at once or again and again, is read from the history once.
//!
//! A question still waits for the barrier, so that what happened before it would have been written by now. Nothing is
//! guessed: an answer is given only to the same question, asked in the same tenth of a second (for sums, the same second), from
//! a history that has everything that the question has waited for.
//!
//! Who asks what is just being read for another waits for that to end, as it may lack what came meanwhile, and then for one
//! reading with all who wait: on a busy machine eight who ask cost two readings, not eight at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;

use super::query::{ListQuery, SummaryQuery, TopQuery};
use crate::feed::Feed;

/// Questions that are remembered.
const MOST: usize = 16;
/// Longer answers are not.
const MOST_BYTES: usize = 256 * 1024;

/// What is asked, and of whom. Shared: whoever waits for an answer holds it in several places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    ConnectionSummary(Arc<SummaryQuery>),
    DropSummary(Arc<SummaryQuery>),
    ConnectionList(Arc<ListQuery>),
    DropList(Arc<ListQuery>),
    Top(Arc<TopQuery>),
}

/// The answers that are remembered.
#[derive(Debug, Default)]
pub struct Answers(Mutex<Vec<Kept>>);

#[derive(Debug)]
struct Kept {
    question: Question,
    answer: Arc<Answer>,
}

/// An answer as JSON, and the version of the history that it has at least, see [`Feed::version`]; locked while it is read.
#[derive(Debug, Default)]
pub(super) struct Answer(tokio::sync::Mutex<Option<(u64, Bytes)>>);

impl Answers {
    /// The answer to a question, be it known or not.
    pub(super) fn to(&self, question: Question) -> Arc<Answer> {
        let mut kept = self.lock();
        if let Some(known) = kept.iter().find(|kept| kept.question == question) {
            return known.answer.clone();
        }
        kept.retain(|kept| kept.answer.is_short());
        if kept.len() == MOST {
            kept.remove(0);
        }
        let answer = Arc::<Answer>::default();
        kept.push(Kept { question, answer: answer.clone() });
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    /// The answer from a history as it is now or later: one that is known, else what `read` reads.
    pub(super) async fn now<E>(
        &self,
        feed: &Feed,
        read: impl AsyncFnOnce() -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        let asked = feed.version();
        let mut known = self.0.lock().await;
        if let Some((version, answer)) = &*known
            && *version >= asked
        {
            return Ok(answer.clone());
        }
        // Before the history is read, which is then of this version or a later one.
        let version = feed.version();
        let answer = read().await?;
        *known = Some((version, answer.clone()));
        Ok(answer)
    }

    fn is_short(&self) -> bool {
        let answer = self.0.try_lock();
        answer.ok().as_deref().and_then(Option::as_ref).is_none_or(|(_, body)| body.len() <= MOST_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::super::params::Params;
    use super::*;
    use crate::domain::Loss;

    const TENTH: i64 = 100_000_000;

    /// A summary of the minute before.
    fn asked(now_ns: i64, body: &str) -> Question {
        let params = Params::from_body(body.as_bytes()).unwrap();
        Question::ConnectionSummary(Arc::new(SummaryQuery::parse(&params, now_ns).unwrap()))
    }

    /// Asks; whether that was read from the history, for an answer of so many bytes.
    async fn reads(answers: &Answers, feed: &Feed, question: Question, bytes: usize) -> bool {
        let mut read = false;
        let reading = async || {
            read = true;
            Ok::<_, Infallible>(vec![b' '; bytes].into())
        };
        answers.to(question).now(feed, reading).await.unwrap();
        read
    }

    fn write(feed: &Feed) {
        feed.lost(&[] as &[Loss]);
    }

    #[tokio::test]
    async fn an_answer_is_given_again_only_where_it_would_be_the_same() {
        let (answers, feed, now) = (Answers::default(), Feed::default(), 10_000 * TENTH + 5);
        let is_read = async |question| reads(&answers, &feed, question, 2).await;
        assert!(is_read(asked(now, "")).await);
        assert!(!is_read(asked(now, "")).await && !is_read(asked(now + TENTH - 6, "")).await);
        assert!(is_read(asked(now + TENTH, "")).await, "an event may have left the window");
        assert!(is_read(asked(now - 6, "")).await, "the clock was set back");
        assert!(is_read(asked(now, r#"{"pid":1}"#)).await, "somebody else is asked for");
        assert!(is_read(asked(now, r#"{"until":"0s"}"#)).await, "this one ends now");
        let Question::ConnectionSummary(query) = asked(now, "") else { panic!() };
        assert!(is_read(Question::DropSummary(query)).await);
        write(&feed);
        assert!(is_read(asked(now, "")).await, "something was written");
        assert!(!is_read(asked(now, "")).await);
    }

    #[tokio::test]
    async fn those_who_ask_while_it_is_read_share_the_next_reading() {
        let (answers, feed, readings) = (Answers::default(), Feed::default(), Cell::new(0));
        let ask = async || {
            let read = async || {
                readings.set(readings.get() + 1);
                tokio::task::yield_now().await; // the others come meanwhile
                Ok::<_, Infallible>(Bytes::from(feed.version().to_string()))
            };
            let asked = feed.version();
            let answer = answers.to(asked_of_now()).now(&feed, read).await.unwrap();
            assert!(str::from_utf8(&answer).unwrap().parse::<u64>().unwrap() >= asked);
        };
        let late = async || {
            write(&feed);
            ask().await;
        };
        tokio::join!(ask(), ask(), late(), late(), late());
        assert_eq!(readings.get(), 2);
    }

    fn asked_of_now() -> Question {
        asked(TENTH, "")
    }

    #[tokio::test]
    async fn a_reading_that_fails_is_not_the_answer_of_others() {
        let (answers, feed) = (Answers::default(), Feed::default());
        let failed = answers.to(asked_of_now()).now(&feed, async || Err("no disk")).await;
        assert_eq!(failed, Err("no disk"));
        assert!(reads(&answers, &feed, asked_of_now(), 2).await);
    }

    #[tokio::test]
    async fn few_and_short_ones_are_remembered() {
        let (answers, feed) = (Answers::default(), Feed::default());
        let of = |pid: usize| asked(TENTH, &format!(r#"{{"pid":{}}}"#, pid + 1));
        let is_read = async |pid, bytes| reads(&answers, &feed, of(pid), bytes).await;
        assert!(is_read(0, MOST_BYTES + 1).await && is_read(1, MOST_BYTES).await);
        assert!(is_read(0, 2).await && !is_read(1, 2).await);
        for pid in 2..=MOST {
            assert!(is_read(pid, 2).await);
        }
        assert_eq!(answers.lock().len(), MOST);
        assert!(!is_read(2, 2).await && is_read(1, 2).await, "the oldest has gone");
    }
}
