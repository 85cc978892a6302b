//! `watch_connections`: what is attempted while one waits.

use std::time::Duration;

use netspy_api::ConnectionEvent;

use super::listing::Listing;
use super::question::{MOST_EVENTS, Question, Since};
use super::{Context, Outcome, Progress, list, polled};

const DEFAULT_SECONDS: u32 = 10;

pub(super) async fn answer(context: &Context<'_>, question: Question) -> Outcome {
    let seconds = if question.seconds == 0 { DEFAULT_SECONDS } else { question.seconds };
    let begin = polled::now(context.client).await?;
    let whole = Question { since: Some(Since::Moment(begin)), ..question };
    for done in 1..=seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let seen = Listing::<ConnectionEvent>::ask(context.client, &whole, 1).await?.total;
        (context.progress)(&Progress { done, total: seconds, message: format!("{seen} connections so far") });
    }
    // Asked once more as a whole: outcomes that came late, and the loss of the whole stretch, are in it.
    let listing = Listing::ask(context.client, &whole, MOST_EVENTS).await?;
    let nothing = format!("No connections were attempted in {seconds} seconds");
    Ok(list::shown(context, listing, &whole, &format!("Connections of {seconds} seconds"), &nothing))
}
