//! Events as the server records them: the client's end of `/api/stream`.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{RequestBuilder, Response};
use serde::de::DeserializeOwned;

use crate::{Client, ClientError, Event, Lagged, StreamRequest};

/// A stream goes on as long as somebody reads it.
const LONGEST: Duration = Duration::from_hours(365 * 24);
/// An event is about 1 KiB; anything near this bound is not one of ours.
const LONGEST_EVENT: usize = 1 << 20;

/// What a stream brings.
#[derive(Clone, Debug, PartialEq)]
pub enum Streamed {
    /// Something happened, or more became known of what had happened.
    Event(Box<Event>),
    /// This client was too slow, or asked for too much of the past.
    Lagged(Lagged),
}

/// Events as they are recorded.
#[derive(Debug)]
pub struct EventStream {
    client: Client,
    response: Response,
    /// What has arrived and was not read yet.
    buffer: Vec<u8>,
    last_event_id: Option<String>,
}

impl Client {
    /// Events from here on, and those of the past that `request` asks for; those since the stream with this last id broke
    /// off, where one is given.
    pub async fn stream(
        &self,
        request: &StreamRequest,
        last_event_id: Option<&str>,
    ) -> Result<EventStream, ClientError> {
        let mut asked: RequestBuilder = self.get("api/stream").query(request).timeout(LONGEST);
        if let Some(id) = last_event_id {
            asked = asked.header("Last-Event-ID", id);
        }
        let response = self.answered(asked).await?;
        let kind =
            response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            return Err(self.malformed(&format_args!("{kind:?} is no stream of events")));
        }
        let last_event_id = last_event_id.map(str::to_owned);
        Ok(EventStream { client: self.clone(), response, buffer: Vec::new(), last_event_id })
    }
}

impl EventStream {
    /// What to ask for when it breaks off, to miss nothing.
    pub fn last_event_id(&self) -> Option<&str> {
        self.last_event_id.as_deref()
    }

    /// The next; `None` when the server has ended the stream.
    pub async fn next(&mut self) -> Result<Option<Streamed>, ClientError> {
        loop {
            while let Some(block) = self.take_block() {
                if let Some(streamed) = self.read(&block)? {
                    return Ok(Some(streamed));
                }
            }
            let Some(chunk) = self.response.chunk().await.map_err(|error| self.client.failed(&error))? else {
                return Ok(None);
            };
            self.buffer.extend_from_slice(&chunk);
            if self.buffer.len() > LONGEST_EVENT && !self.buffer.windows(2).any(|end| end == b"\n\n") {
                return Err(self
                    .client
                    .malformed(&format_args!("an event of more than {} MiB", LONGEST_EVENT >> 20)));
            }
        }
    }

    /// The lines of an event: an empty one ends it.
    fn take_block(&mut self) -> Option<String> {
        let end = self.buffer.windows(2).position(|end| end == b"\n\n")?;
        let block = self.buffer.drain(..end + 2).collect::<Vec<_>>();
        Some(String::from_utf8_lossy(&block).into_owned())
    }

    /// Takes note of the id; there may be nothing else.
    fn read(&mut self, block: &str) -> Result<Option<Streamed>, ClientError> {
        let (mut name, mut data) = ("", String::new());
        for line in block.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => name = value,
                "data" => data.push_str(value),
                "id" => self.last_event_id = Some(value.to_owned()),
                _ => {}
            }
        }
        match (name, data.as_str()) {
            (_, "") => Ok(None),
            ("lagged", data) => self.parse(data).map(|lagged| Some(Streamed::Lagged(lagged))),
            (_, data) => self.parse(data).map(|event| Some(Streamed::Event(event))),
        }
    }

    fn parse<T: DeserializeOwned>(&self, data: &str) -> Result<T, ClientError> {
        serde_json::from_str(data).map_err(|error| self.client.malformed(&error))
    }
}
