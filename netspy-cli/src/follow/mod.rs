//! `netspy follow`: connections as they happen, a line each, until Ctrl-C. A server that goes away is waited for.

mod pushed;
mod told;

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use netspy_api::{Client, ClientError, ConnectionEvent};
use serde_json::{Map, Value};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use self::pushed::{News, PAUSE, Pushed, lost_since};
use self::told::Told;
use crate::output::{self, Exit, Format};
use crate::registry::polled::{self, Polled};
use crate::registry::{self, Question, Tool};
use crate::render::{connection, escape};
use crate::waiting::Waiting;

/// How often a server that has no stream is asked, and how often one looks for what is overdue.
const INTERVAL: Duration = Duration::from_millis(500);

/// Where lines go.
pub(crate) trait Paper {
    fn data(&mut self, text: &str) -> io::Result<()>;
    fn words(&mut self, text: &str);
}

/// Data and words to where they always go.
struct Standard;

impl Paper for Standard {
    fn data(&mut self, text: &str) -> io::Result<()> {
        output::data(text)
    }

    fn words(&mut self, text: &str) {
        output::words(text);
    }
}

/// Prints until Ctrl-C, or for as many seconds as the question says.
pub(crate) async fn run(
    client: &Client,
    tool: &Tool,
    arguments: Map<String, Value>,
    format: Format,
) -> io::Result<Exit> {
    let question = match Question::read(tool, arguments) {
        Ok(question) => question,
        Err(error) => return Ok(refused(&mut Standard, &error.to_string(), Exit::from(&error))),
    };
    let mut paper = Standard;
    let all = async {
        let begun = Waiting::new().during(begin(client, &question)).await;
        print(client, &question, begun, format, &mut paper).await
    };
    tokio::select! {
        ended = all => ended,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Success),
    }
}

/// What can be followed of a server, and from when on.
pub(crate) struct Begun {
    begin: Timestamp,
    /// None where it has no stream.
    pushed: Option<Pushed>,
}

/// Asks the server for what happens from now on. A mistyped address is said at once; only who was there is waited for.
pub(crate) async fn begin(client: &Client, question: &Question) -> Result<Begun, ClientError> {
    let begin = polled::now(client).await?;
    match Pushed::open(client, registry::stream_request(question), begin).await {
        Err(error) if error.is_unknown_path() => Ok(Begun { begin, pushed: None }),
        pushed => pushed.map(|pushed| Begun { begin, pushed: Some(pushed) }),
    }
}

/// Prints until it is dropped, or for as many seconds as the question says.
pub(crate) async fn print(
    client: &Client,
    question: &Question,
    begun: Result<Begun, ClientError>,
    format: Format,
    paper: &mut impl Paper,
) -> io::Result<Exit> {
    let Begun { begin, pushed } = match begun {
        Ok(begun) => begun,
        Err(error) => return Ok(failed(paper, &error)),
    };
    paper.words("Following connections; Ctrl-C ends");
    if format == Format::Csv {
        paper.data(&registry::connection_rows(&[]).csv_head())?;
    }
    let end = (question.seconds > 0).then(|| Instant::now() + Duration::from_secs(question.seconds.into()));
    match pushed {
        Some(pushed) => print_pushed(client, pushed, begin, end, format, paper).await,
        None => print_polled(client, Polled::new(question, begin), end, format, paper).await,
    }
}

async fn print_pushed(
    client: &Client,
    mut pushed: Pushed,
    begin: Timestamp,
    end: Option<Instant>,
    format: Format,
    paper: &mut impl Paper,
) -> io::Result<Exit> {
    let (mut told, mut lost) = (Told::since(begin), 0);
    let mut look = interval(INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let ended = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let news = tokio::select! {
            news = pushed.next() => news,
            _ = look.tick() => {
                told.overdue(Instant::now()).iter().try_for_each(|event| tell(event, &event.time, format, paper))?;
                continue;
            }
            () = ended => None,
        };
        match news {
            Some(News::Event(event)) => {
                if let Some(event) = told.hear(*event, Instant::now()) {
                    tell(&event, &event.time, format, paper)?;
                }
            }
            Some(News::Lost(more)) => {
                lost += more;
                say_lost(more, paper);
            }
            Some(News::Behind(changes)) => paper.words(&format!(
                "! {changes} changes came faster than they were read; asking the server's history for them"
            )),
            Some(News::Missed(events)) => {
                paper.words(&format!(
                    "! {events} older events are not shown: too many to be sent; netspy list has them"
                ));
            }
            Some(News::Away(error)) => away(paper, &error),
            Some(News::Back) => paper.words("The server is back"),
            Some(News::Failed(error)) => return Ok(failed(paper, &error)),
            None => break,
        }
    }
    let all = lost_since(client, begin).await.unwrap_or(lost);
    if all > lost {
        say_lost(all - lost, paper);
    }
    Ok(Exit::Success)
}

async fn print_polled(
    client: &Client,
    mut polled: Polled,
    end: Option<Instant>,
    format: Format,
    paper: &mut impl Paper,
) -> io::Result<Exit> {
    let mut is_away = false;
    while end.is_none_or(|end| Instant::now() < end) {
        sleep(if is_away { PAUSE } else { INTERVAL }).await;
        match polled.next(client).await {
            Ok(batch) => {
                if is_away {
                    paper.words("The server is back");
                }
                is_away = false;
                batch.events.iter().try_for_each(|event| tell(event, &batch.query_time, format, paper))?;
                if batch.is_cut {
                    paper.words("! More happened than this server lists: the lines above are incomplete");
                }
            }
            Err(error @ ClientError::Unreachable { .. }) => {
                if !is_away {
                    away(paper, &error);
                }
                is_away = true;
            }
            Err(error) => return Ok(failed(paper, &error)),
        }
    }
    Ok(Exit::Success)
}

fn tell(event: &ConnectionEvent, now: &str, format: Format, paper: &mut impl Paper) -> io::Result<()> {
    paper.data(&match format {
        Format::Text | Format::Table | Format::Wide => connection::row(event, now),
        Format::Json | Format::Ndjson => registry::connection_rows(&[event]).ndjson(),
        Format::Csv => registry::connection_rows(&[event]).csv_lines(),
    })
}

fn say_lost(events: u64, paper: &mut impl Paper) {
    paper.words(&format!("! {events} events were lost: the lines above are incomplete"));
}

fn away(paper: &mut impl Paper, error: &ClientError) {
    paper.words(&format!("Warning: {}; waiting for it", escape::text(&error.to_string())));
}

fn failed(paper: &mut impl Paper, error: &ClientError) -> Exit {
    refused(paper, &error.to_string(), Exit::from(error))
}

fn refused(paper: &mut impl Paper, reason: &str, exit: Exit) -> Exit {
    paper.words(&format!("Error: {}", escape::text(reason)));
    exit
}
