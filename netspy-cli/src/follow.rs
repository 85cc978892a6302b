//! `netspy follow`: connections as they happen, a line each, until Ctrl-C. A server that goes away is waited for.

use std::io;
use std::time::Duration;

use netspy_api::{Client, ClientError, ConnectionEvent};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use crate::output::{self, Exit, Format};
use crate::registry::stream::{Batch, Stream};
use crate::registry::{self, Question};
use crate::render::{connection, escape};

/// How often the server is asked.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long a server that is away is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Prints until it is told to stop, or for as many seconds as the flags say.
pub(crate) async fn run(client: &Client, arguments: Map<String, Value>, format: Format) -> io::Result<Exit> {
    let Some(tool) = registry::find("watch_connections") else { return Ok(Exit::Failed) };
    let question = match Question::read(tool, arguments) {
        Ok(question) => question,
        Err(error) => return Ok(refused(&error.to_string(), Exit::from(&error))),
    };
    tokio::select! {
        ended = print(client, &question, format) => ended,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Success),
    }
}

async fn print(client: &Client, question: &Question, format: Format) -> io::Result<Exit> {
    // A mistyped address is said at once; only who was there is waited for.
    let mut stream = match Stream::begin(client, question).await {
        Ok(stream) => stream,
        Err(error) => return Ok(refused(&error.to_string(), Exit::from(&error))),
    };
    output::words("Following connections; Ctrl-C ends");
    if format == Format::Csv {
        output::data(&registry::connection_rows(&[]).csv_head())?;
    }
    let end = (question.seconds > 0).then(|| Instant::now() + Duration::from_secs(question.seconds.into()));
    let (mut is_away, mut lost) = (false, 0);
    while end.is_none_or(|end| Instant::now() < end) {
        sleep(if is_away { PAUSE } else { INTERVAL }).await;
        match stream.next(client).await {
            Ok(batch) => {
                if is_away {
                    output::words("The server is back");
                }
                is_away = false;
                show(&batch, format)?;
                if batch.lost > lost {
                    output::words(&format!(
                        "! {} events were lost: the lines above are incomplete",
                        batch.lost
                    ));
                }
                lost = batch.lost;
            }
            Err(error @ ClientError::Unreachable { .. }) => {
                if !is_away {
                    output::words(&format!("Warning: {}; waiting for it", escape::text(&error.to_string())));
                }
                is_away = true;
            }
            Err(error) => return Ok(refused(&error.to_string(), Exit::from(&error))),
        }
    }
    Ok(Exit::Success)
}

fn refused(reason: &str, exit: Exit) -> Exit {
    output::words(&format!("Error: {}", escape::text(reason)));
    exit
}

fn show(batch: &Batch, format: Format) -> io::Result<()> {
    let line = |event: &ConnectionEvent| match format {
        Format::Text | Format::Table | Format::Wide => connection::row(event, &batch.query_time),
        Format::Json | Format::Ndjson => registry::connection_rows(&[event]).ndjson(),
        Format::Csv => registry::connection_rows(&[event]).csv_lines(),
    };
    batch.events.iter().try_for_each(|event| output::data(&line(event)))
}
