//! `/api/listeners`: who waits for connections or datagrams at this moment, and how full the queues are.

use axum::extract::State;
use axum::response::Response;
use jiff::tz::TimeZone;
use netspy_api::{Listeners, ListeningSocket};

use super::error::Failure;
use super::{Shared, render};
use crate::domain::{ExistingSocket, SocketRole};

pub(super) async fn list(State(api): Shared) -> Result<Response, Failure> {
    let (sockets, now_ns) = (api.sockets.clone(), api.clock.now_ns());
    api.answer(move |_, zone: &TimeZone| {
        let mut listeners: Vec<_> = sockets
            .existing()?
            .iter()
            .filter(|socket| socket.role == SocketRole::Listener)
            .map(listener)
            .collect();
        listeners.sort_by(|a, b| (&a.protocol, a.port, &a.path).cmp(&(&b.protocol, b.port, &b.path)));
        Ok(Listeners {
            count: listeners.len() as u64,
            listeners,
            query_time: render::whole_seconds(now_ns, zone),
        })
    })
    .await
}

fn listener(socket: &ExistingSocket) -> ListeningSocket {
    let owner = socket.owner.map(|owner| crate::domain::Process::of_thread(&owner));
    ListeningSocket {
        pid: owner.as_ref().map_or(0, |owner| owner.pid),
        process: owner.map(|owner| owner.name).unwrap_or_default(),
        protocol: if socket.path.is_some() { "UNIX".to_owned() } else { render::protocol(socket.protocol) },
        address: socket.local.map(|local| local.canonical().ip.to_string()),
        port: socket.local.map(|local| local.port),
        path: socket.path.clone(),
        backlog: socket.backlog,
        backlog_limit: socket.backlog_limit,
        netns: socket.netns,
    }
}
