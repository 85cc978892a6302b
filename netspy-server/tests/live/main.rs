//! The scenario table: what a process does, and what netspy must say about it. One table for every kernel
//! and rung: it runs on this machine with `cargo nextest run`, and in virtual machines with
//! `cargo xtask vm`. It needs root, for the server and for network namespaces of its own.
//!
//! `NETSPY_RUNG=kprobe|tracepoint` forces a rung; with `NETSPY_OTHER_RUNG` what does not depend on it is left out;
//! `NETSPY_SERVER_BIN` names another server binary; with `NETSPY_LOCKED_DOWN` the one scenario of a kernel in lockdown
//! runs. `NETSPY_REPEAT=n` runs each n times and gives none a second try: a scenario that fails once in a dozen runs is found so.

// Actors enter network namespaces of their own; a scenario says what it expects by unwrapping it.
#![allow(unsafe_code, clippy::unwrap_used, clippy::print_stdout)]

mod actor;
mod brief;
mod environment;
mod provoke;
mod scenarios;
mod server;
mod types;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// Printed before a scenario that has another try, for whoever reads a guest's output.
const SECOND_TRY: &str = "NETSPY-SECOND-TRY";

fn main() -> ExitCode {
    if let Some(act) = std::env::args().nth(1).filter(|word| word.starts_with("act-")) {
        actor::act(&act);
        return ExitCode::SUCCESS;
    }
    let words: Vec<_> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if words.first().is_some_and(|word| word.starts_with("brief-")) {
        brief::act(&words);
        return ExitCode::SUCCESS;
    }
    if let Some(what) = words.first().filter(|word| word.starts_with("provoke-")) {
        provoke::act(what);
        return ExitCode::SUCCESS;
    }
    // Last: they end the server that all of them share, and the others flood the machine.
    let last: [(&str, fn()); 6] = [
        ("a_server_told_to_stop_exits_0", server::stops_cleanly),
        ("ten_thousand_short_connections_are_all_there", scenarios::ten_thousand),
        ("full_rings_are_counted_to_the_last_attempt", scenarios::full_rings),
        ("calls_that_do_not_fit_are_counted", scenarios::too_many_calls),
        ("missed_returns_are_counted", scenarios::missed_returns),
        ("skipped_programs_are_counted", scenarios::skipped_programs),
    ];
    let last_on_any_rung: [(&str, fn()); 2] = [
        ("after_a_loss_what_is_over_is_not_open_and_what_is_open_is_known", scenarios::after_a_loss),
        ("a_full_ring_of_drops_is_counted_to_the_last_drop", scenarios::full_drops_ring),
    ];
    // A kernel that was locked down stays so: there nothing else can run.
    let locked: [(&str, fn()); 1] = [("a_locked_down_kernel_is_named", scenarios::locked_down)];
    let is_set = |name| std::env::var_os(name).is_some();
    let table = if is_set("NETSPY_LOCKED_DOWN") {
        locked.to_vec()
    } else if is_set("NETSPY_OTHER_RUNG") {
        [scenarios::TABLE, &last].concat()
    } else {
        [scenarios::TABLE, scenarios::ON_ANY_RUNG, &last, &last_on_any_rung].concat()
    };
    let repeat = std::env::var("NETSPY_REPEAT").map_or(1, |times| times.parse().unwrap());
    let trials = table.repeat(repeat).into_iter().map(|(name, scenario)| {
        let body = move || if repeat == 1 { undisturbed_by_skips(name, scenario) } else { scenario() };
        Trial::test(name, move || {
            body();
            Ok(())
        })
    });
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    if is_set("NETSPY_RUNG") && arguments.filter.is_none() {
        scenarios::begin_idle_flow();
    }
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    server::end();
    conclusion.exit_code()
}

/// Where tasks are many and processors slow, the kernel skips a program now and then, and says so in the ledger: what a
/// scenario then misses is nobody's mistake. It has another try, but only then.
fn undisturbed_by_skips(name: &str, scenario: fn()) {
    const TRIES: usize = 3;
    for again in 1..=TRIES {
        let skipped = server::skipped();
        let Err(failure) = std::panic::catch_unwind(scenario) else { return };
        if again == TRIES || server::skipped() == skipped {
            std::panic::resume_unwind(failure);
        }
        println!("\n{SECOND_TRY} {name}: the kernel skipped a program meanwhile");
    }
}
