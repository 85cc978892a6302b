//! What the server's stream brings, and what that lacks: opened again where it broke off, as often as it takes.

use std::time::Duration;

use jiff::Timestamp;
use netspy_api::{
    Client, ClientError, ConnectionEvent, Event, EventStream, StreamRequest, Streamed, TopRequest,
};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// How long a server that is away is left alone.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// How often the server is asked what was lost.
const LOOK: Duration = Duration::from_secs(2);
/// What waits to be printed; the server keeps the rest, and says so when it is too much.
const WAITING: usize = 64;

/// What there is to tell.
pub(super) enum News {
    Event(Box<ConnectionEvent>),
    /// So many more events were lost, on their way through the kernel or to the history.
    Lost(u64),
    /// So many changes came faster than they were read; they are asked for again.
    Behind(u64),
    /// So many events were too many to be sent.
    Missed(u64),
    Away(ClientError),
    Back,
    Failed(ClientError),
}

/// Ends when it is dropped.
pub(super) struct Pushed {
    news: Receiver<News>,
    _tasks: JoinSet<()>,
}

impl Pushed {
    /// Opens the stream; an error of this first time is nothing to wait for.
    pub(super) async fn open(
        client: &Client,
        request: StreamRequest,
        begin: Timestamp,
    ) -> Result<Self, ClientError> {
        let stream = client.stream(&request, None).await?;
        let (sender, news) = channel(WAITING);
        let mut tasks = JoinSet::new();
        tasks.spawn(read(client.clone(), request, stream, sender.clone()));
        tasks.spawn(look_for_losses(client.clone(), begin, sender));
        Ok(Self { news, _tasks: tasks })
    }

    /// What comes next.
    pub(super) async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }
}

/// How much was lost since then, which only sums tell cheaply; none where the server cannot say.
pub(super) async fn lost_since(client: &Client, begin: Timestamp) -> Option<u64> {
    let least = TopRequest { since: Some(begin.to_string()), limit: Some(1), ..TopRequest::default() };
    Some(client.top(&least).await.ok()?.lost?.total)
}

async fn look_for_losses(client: Client, begin: Timestamp, sender: Sender<News>) {
    let mut told = 0;
    loop {
        sleep(LOOK).await;
        let lost = lost_since(&client, begin).await.unwrap_or(told);
        if lost > told && sender.send(News::Lost(lost - told)).await.is_err() {
            return;
        }
        told = told.max(lost);
    }
}

async fn read(client: Client, request: StreamRequest, stream: EventStream, sender: Sender<News>) {
    let mut stream = stream;
    loop {
        let opened = Instant::now();
        let Some(resume) = pass_on(&mut stream, &sender).await else { return };
        // One that ends at once is not asked for again and again without rest.
        sleep_until(opened + PAUSE).await;
        let Some(again) = reopen(&client, &request, resume.as_deref(), &sender).await else { return };
        stream = again;
    }
}

/// Passes on what comes, until the stream ends; then, where to go on. None if nobody listens.
async fn pass_on(stream: &mut EventStream, sender: &Sender<News>) -> Option<Option<String>> {
    loop {
        let news = match stream.next().await {
            Ok(Some(Streamed::Event(event))) => match *event {
                Event::Connection(event) => News::Event(Box::new(event)),
                _ => continue,
            },
            Ok(Some(Streamed::Lagged(lagged))) => match lagged.last_event_id {
                Some(id) => {
                    sender.send(News::Behind(lagged.missed)).await.ok()?;
                    return Some(Some(id));
                }
                None => News::Missed(lagged.missed),
            },
            // It broke off, or the server stops: the next one begins where this one ended.
            Ok(None) | Err(_) => return Some(stream.last_event_id().map(str::to_owned)),
        };
        sender.send(news).await.ok()?;
    }
}

async fn reopen(
    client: &Client,
    request: &StreamRequest,
    resume: Option<&str>,
    sender: &Sender<News>,
) -> Option<EventStream> {
    let mut is_away = false;
    loop {
        match client.stream(request, resume).await {
            Ok(stream) => {
                if is_away {
                    sender.send(News::Back).await.ok()?;
                }
                return Some(stream);
            }
            // It is gone, or about to go, or not yet all there.
            Err(error @ (ClientError::Unreachable { .. } | ClientError::Status { code: 500.., .. })) => {
                if !is_away {
                    sender.send(News::Away(error)).await.ok()?;
                }
                is_away = true;
            }
            Err(error) => {
                // If nobody listens, there is nobody to tell.
                let _ = sender.send(News::Failed(error)).await;
                return None;
            }
        }
        sleep(PAUSE).await;
    }
}
