//! Serving: one task for each connection, and limits for each.
//!
//! | limit | why |
//! | --- | --- |
//! | connections per door, `CLIENTS` | descriptors and memory; more wait until one ends |
//! | the head of a request, within `HEAD` | who sends nothing, before or between requests, is cut |
//! | a head of `HEAD_BYTES` and `HEADERS` | memory |
//! | answers at a time, `ANSWERS` | memory; see `gate` |
//! | an answer is taken, see `pace`, and `SENDING` bytes of it wait in the kernel | memory and a turn are held for it |

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::body::Body;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{door::Door, gate::Gate, pace::Paced, token::Tokens};
use crate::http::Api;

/// Connections through one door.
const CLIENTS: usize = 2_048;
/// Descriptors besides those of clients.
const OTHER_FILES: u64 = 512;
const ANSWERS: usize = 128;
const HEAD: Duration = Duration::from_secs(10);
const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
/// What the kernel holds of an answer for a client that does not take it, in bytes; Linux doubles it for its own needs.
const SENDING: usize = 128 << 10;
/// How long open requests may take once the server is told to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// After an error that waiting may cure, such as too many open files.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Serves until `stopped` is true; requests under way then get a little time.
pub async fn serve(
    doors: Vec<Door>,
    api: Api,
    tokens: Option<Arc<Tokens>>,
    stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    allow_files(doors.len() as u64 * CLIENTS as u64 + OTHER_FILES);
    let gate = Gate { api, turns: Arc::new(Semaphore::new(ANSWERS)), tokens: None };
    let graceful = Arc::new(GracefulShutdown::new());
    let (mut accepting, mut files) = (JoinSet::new(), Vec::new());
    for door in doors {
        let connections = Connections {
            clients: Arc::new(Semaphore::new(CLIENTS)),
            gate: gate.clone(),
            stopped: stopped.clone(),
        };
        match door {
            Door::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                let listener = TcpListener::from_std(listener)?;
                let mut connections = connections;
                connections.gate.tokens.clone_from(&tokens);
                accepting.spawn(connections.accept(graceful.clone(), async move || {
                    let (stream, _) = listener.accept().await?;
                    stream.set_nodelay(true)?;
                    set_socket_send_buffer_size(&stream, SENDING)?;
                    Ok(stream)
                }));
            }
            Door::Unix(listener, file) => {
                files.push(file);
                listener.set_nonblocking(true)?;
                let listener = UnixListener::from_std(listener)?;
                accepting.spawn(
                    connections.accept(graceful.clone(), async move || Ok(listener.accept().await?.0)),
                );
            }
        }
    }
    while accepting.join_next().await.is_some() {}
    if let Some(graceful) = Arc::into_inner(graceful) {
        let _ = timeout(STOP_WITHIN, graceful.shutdown()).await;
    }
    Ok(())
}

/// What a door leads to.
struct Connections {
    clients: Arc<Semaphore>,
    gate: Gate,
    stopped: watch::Receiver<bool>,
}

impl Connections {
    async fn accept<S>(mut self, graceful: Arc<GracefulShutdown>, next: impl AsyncFn() -> io::Result<S>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        loop {
            let arrival = async {
                let place = self.clients.clone().acquire_owned().await.map_err(io::Error::other)?;
                Ok::<_, io::Error>((next().await?, place))
            };
            let arrived = tokio::select! {
                arrived = arrival => arrived,
                _ = self.stopped.wait_for(|stopped| *stopped) => return,
            };
            match arrived {
                Ok((stream, place)) => self.begin(stream, place, &graceful),
                Err(error) => {
                    tracing::debug!(%error, "a client could not be let in");
                    sleep(AGAIN_AFTER).await;
                }
            }
        }
    }

    fn begin<S>(&self, stream: S, place: OwnedSemaphorePermit, graceful: &GracefulShutdown)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
        builder.max_buf_size(HEAD_BYTES).max_headers(HEADERS);
        let gate = self.gate.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let gate = gate.clone();
            async move { Ok::<_, Infallible>(gate.answer(request.map(Body::new)).await) }
        });
        let connection = builder.serve_connection(TokioIo::new(Paced::new(stream)), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a client was cut or went away");
            }
            drop(place);
        });
    }
}

/// Raises this process's limit of open files, as far as it may.
fn allow_files(wanted: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let possible = now.maximum.map_or(wanted, |most| most.min(wanted));
    if now.current.is_none_or(|current| current >= possible) {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(possible), maximum: now.maximum })
    {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
