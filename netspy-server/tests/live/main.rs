//! The scenario table: what a process does, and what netspy must say about it. One table for every kernel
//! and rung: it runs on this machine with `cargo nextest run`, and in virtual machines with
//! `cargo xtask vm`. It needs root, for the server and for network namespaces of its own.
//!
//! `NETSPY_RUNG=kprobe|tracepoint` forces a rung; `NETSPY_SERVER_BIN` names another server binary.

// Actors enter network namespaces of their own; a scenario says what it expects by unwrapping it.
#![allow(unsafe_code, clippy::unwrap_used, clippy::print_stdout)]

mod actor;
mod scenarios;
mod server;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    if let Some(act) = std::env::args().nth(1).filter(|word| word.starts_with("act-")) {
        actor::act(&act);
        return ExitCode::SUCCESS;
    }
    // Last: they end the server that all of them share, and one floods the machine.
    let last: [(&str, fn()); 2] = [
        ("a_server_told_to_stop_exits_0", server::stops_cleanly),
        ("full_rings_are_counted_to_the_last_attempt", scenarios::full_rings),
    ];
    let trials = scenarios::TABLE.iter().copied().chain(last).map(|(name, scenario)| {
        Trial::test(name, move || {
            scenario();
            Ok(())
        })
    });
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    server::end();
    conclusion.exit_code()
}
