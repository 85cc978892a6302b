//! What was really seen in the last hour: for completions, and for names that are mistyped.

use std::collections::BTreeSet;

use netspy_api::{Client, ConnectionEvent};

use super::listing::Listing;
use super::question::{MOST_EVENTS, Question};

/// Whom connections were of, and where they went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Names of processes and threads.
    pub(crate) names: BTreeSet<String>,
    pub(crate) pids: BTreeSet<String>,
    /// Remote addresses.
    pub(crate) addresses: BTreeSet<String>,
    pub(crate) ports: BTreeSet<String>,
}

impl Seen {
    /// A server that fails has seen nothing.
    pub(crate) async fn look(client: &Client) -> Self {
        let mut seen = Self::default();
        let Ok(listing) = Listing::<ConnectionEvent>::ask(client, &Question::default(), MOST_EVENTS).await
        else {
            return seen;
        };
        for event in listing.events {
            seen.pids.insert(event.pid.to_string());
            seen.names.extend([event.command, event.process].into_iter().filter(|name| !name.is_empty()));
            if !event.destination_ip.is_empty() {
                seen.addresses.insert(event.destination_ip);
            }
            if event.destination_port != 0 {
                seen.ports.insert(event.destination_port.to_string());
            }
        }
        seen
    }
}
