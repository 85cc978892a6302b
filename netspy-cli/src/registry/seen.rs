//! What was really seen in the last hour: for completions, and for names that are mistyped.

use std::collections::BTreeSet;

use netspy_api::{Client, ConnectionEvent};

use super::listing::Listing;
use super::question::{Direction, MOST_EVENTS, Question};

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
            // The other end: who began an inbound one is its source.
            let (address, port) = if event.direction == Direction::Inbound.name() {
                (event.source_ip.unwrap_or_default(), event.source_port.unwrap_or_default())
            } else {
                (event.destination_ip, event.destination_port)
            };
            if !address.is_empty() {
                seen.addresses.insert(address);
            }
            if port != 0 {
                seen.ports.insert(port.to_string());
            }
        }
        seen
    }
}
