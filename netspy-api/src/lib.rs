//! netspy's HTTP contract: what a request may ask, what an answer holds, and a typed client.
//!
//! A superset of the earlier Go netspy's wire format: every key it had keeps its name, type and meaning; new
//! facts are new keys. Reading is lenient (missing keys and nulls are defaults), so that the client also
//! understands that earlier server. No business rules live here.
#![warn(missing_docs)]

mod client;
mod event;
mod request;
mod response;
mod stream;

pub use client::{Client, ClientError};
pub use event::{Ancestor, ConnectionEvent, DropEvent, Event, TroubleEvent};
pub use request::{Conditions, EventsRequest, ListRequest, StreamRequest, SummaryRequest, TopRequest};
pub use response::{
    ConnectionSummary, DropSummary, ErrorBody, EventList, EventsByPid, Health, Lagged, Listeners,
    ListeningSocket, Liveness, Location, Lost, Program, Programs, Readiness, ReadinessCheck, RefusedRung,
    Sampled, TopGroup, TopList,
};
pub use stream::{EventStream, Streamed};
