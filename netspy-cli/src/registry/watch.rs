//! `watch_connections`: what is attempted while one waits.

use std::time::Duration;

use super::list;
use super::listing::Listing;
use super::question::{MOST_EVENTS, Question, Since};
use super::stream::Stream;
use super::{Context, Outcome, Progress};

const DEFAULT_SECONDS: u32 = 10;

pub(super) async fn answer(context: &Context<'_>, question: Question) -> Outcome {
    let seconds = if question.seconds == 0 { DEFAULT_SECONDS } else { question.seconds };
    let mut stream = Stream::begin(context.client, &question).await?;
    let begin = stream.since();
    let mut seen = 0;
    for done in 1..=seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        seen += stream.next(context.client).await?.events.len();
        (context.progress)(&Progress { done, total: seconds, message: format!("{seen} connections so far") });
    }
    // Asked once more as a whole: outcomes that came late, and the loss of the whole stretch, are in it.
    let whole = Question { since: Some(Since::Moment(begin)), ..question };
    let listing = Listing::ask(context.client, &whole, MOST_EVENTS).await?;
    let nothing = format!("No connections were attempted in {seconds} seconds");
    Ok(list::shown(context, listing, &whole, &format!("Connections of {seconds} seconds"), &nothing))
}
