//! The server as a process: its settings, who gets in, what it may do, how it ends.

// A test says what it expects by unwrapping it.
#![allow(clippy::unwrap_used)]

mod access;
mod crowd;
mod endings;
mod privileges;
mod server;
mod settings;
mod systemd;
