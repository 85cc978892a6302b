//! `netspy follow`: connections as they happen, a line each, until Ctrl-C. A server that goes away is waited for.

use std::io;
use std::time::Duration;

use netspy_api::{Client, ClientError, ConnectionEvent};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use crate::output::{self, Exit, Format};
use crate::registry::stream::Stream;
use crate::registry::{self, Question, Tool};
use crate::render::{connection, escape};

/// How often the server is asked.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long a server that is away is left alone.
const PAUSE: Duration = Duration::from_secs(1);

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
    tokio::select! {
        ended = print(client, &question, format, &mut paper) => ended,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Success),
    }
}

/// Prints until it is dropped, or for as many seconds as the question says.
pub(crate) async fn print(
    client: &Client,
    question: &Question,
    format: Format,
    paper: &mut impl Paper,
) -> io::Result<Exit> {
    // A mistyped address is said at once; only who was there is waited for.
    let mut stream = match Stream::begin(client, question).await {
        Ok(stream) => stream,
        Err(error) => return Ok(refused(paper, &error.to_string(), Exit::from(&error))),
    };
    paper.words("Following connections; Ctrl-C ends");
    if format == Format::Csv {
        paper.data(&registry::connection_rows(&[]).csv_head())?;
    }
    let end = (question.seconds > 0).then(|| Instant::now() + Duration::from_secs(question.seconds.into()));
    let (mut is_away, mut lost) = (false, 0);
    while end.is_none_or(|end| Instant::now() < end) {
        sleep(if is_away { PAUSE } else { INTERVAL }).await;
        match stream.next(client).await {
            Ok(batch) => {
                if is_away {
                    paper.words("The server is back");
                }
                is_away = false;
                batch
                    .events
                    .iter()
                    .try_for_each(|event| paper.data(&line(event, &batch.query_time, format)))?;
                if batch.lost > lost {
                    let n = batch.lost;
                    paper.words(&format!("! {n} events were lost: the lines above are incomplete"));
                }
                lost = batch.lost;
            }
            Err(error @ ClientError::Unreachable { .. }) => {
                if !is_away {
                    paper.words(&format!("Warning: {}; waiting for it", escape::text(&error.to_string())));
                }
                is_away = true;
            }
            Err(error) => return Ok(refused(paper, &error.to_string(), Exit::from(&error))),
        }
    }
    Ok(Exit::Success)
}

fn refused(paper: &mut impl Paper, reason: &str, exit: Exit) -> Exit {
    paper.words(&format!("Error: {}", escape::text(reason)));
    exit
}

fn line(event: &ConnectionEvent, now: &str, format: Format) -> String {
    match format {
        Format::Text | Format::Table | Format::Wide => connection::row(event, now),
        Format::Json | Format::Ndjson => registry::connection_rows(&[event]).ndjson(),
        Format::Csv => registry::connection_rows(&[event]).csv_lines(),
    }
}
