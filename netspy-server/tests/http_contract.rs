//! The HTTP contract, field by field, against the real router and store over a real TCP connection.
//!
//! The numbers in the comments are sections of the contract with the earlier Go netspy: its keys, types, widths
//! and defaults are asserted here one by one, and what is new is listed by name.

#![allow(clippy::unwrap_used, reason = "tests; the lint's own exception covers test functions only")]

#[path = "http_contract/answers.rs"]
mod answers;
#[path = "http_contract/conditions.rs"]
mod conditions;
#[path = "http_contract/description.rs"]
mod description;
#[path = "http_contract/operation.rs"]
mod operation;
#[path = "http_contract/refusals.rs"]
mod refusals;
#[path = "http_contract/server.rs"]
mod server;
#[path = "http_contract/shapes.rs"]
mod shapes;
#[path = "http_contract/stream.rs"]
mod stream;
#[path = "http_contract/top.rs"]
mod top;
#[path = "http_contract/troubles.rs"]
mod troubles;
