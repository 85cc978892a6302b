//! What the server costs while nothing happens: it must not wake up for nothing.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::process::{self, Memory, Sleeps};
use super::server::Server;
use super::setup::Bench;

/// Until the server has written what its own start, or a question, caused, and sleeps: a thread that answered goes after
/// ten seconds without a further question.
const SETTLE: Duration = Duration::from_secs(12);
/// On a machine that is not quiet: how often to try for a window without an event.
const WINDOWS: usize = 5;
/// The last second is not asked about.
const NOT_ASKED_ABOUT: Duration = Duration::from_secs(1);

/// A window of the idle server.
#[derive(Debug, Serialize)]
pub(super) struct Idle {
    /// Its length.
    pub(super) seconds: u64,
    /// Events of other processes in it: each wakes the server rightly.
    pub(super) events: u64,
    /// How often its threads woke.
    pub(super) wakeups: u64,
    /// CPU time as part of one core.
    pub(super) cpu: f64,
    /// Memory at its end.
    pub(super) memory: Memory,
}

/// The quietest window.
pub(super) fn measure(bench: &Bench, time: Duration) -> Result<Idle> {
    let mut server = bench.start_server()?;
    let mut quietest = window(&mut server, time)?;
    for _ in 1..WINDOWS {
        if quietest.wakeups == 0 {
            break;
        }
        let next = window(&mut server, time)?;
        if next.wakeups < quietest.wakeups {
            quietest = next;
        }
    }
    server.stop()?;
    Ok(quietest)
}

fn window(server: &mut Server, time: Duration) -> Result<Idle> {
    let seconds = time.as_secs();
    eprintln!("idle: {seconds} s");
    sleep(SETTLE);
    let (cpu, sleeps) = (process::cpu_ns(server.pid())?, Sleeps::of(server.pid())?);
    sleep(time);
    let cpu = process::cpu_ns(server.pid())? - cpu;
    let wakeups = Sleeps::of(server.pid())?.wakeups_since(&sleeps);
    let memory = Memory::of(server.pid())?;
    sleep(NOT_ASKED_ABOUT);
    let events = server.events_within(seconds)?;
    Ok(Idle { seconds, events, wakeups, cpu: cpu as f64 / time.as_nanos() as f64, memory })
}
