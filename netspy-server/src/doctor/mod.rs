//! `netspy-server doctor`: what this machine allows, which hook each event gets, and what to fix. It loads,
//! attaches and checks as the server does, and takes everything back.

mod findings;
mod text;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use serde::Serialize;

use self::findings::{Finding, findings};
use crate::{
    cli::{DoctorFlags, Output},
    domain::{Check, Hook, HookState, Refusal},
    source::kernel::{self, LoadError, Machine, Options},
    start::{self, StartError},
};

/// Everything that there is to say. The names of its keys are stable.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether every event can be had.
    healthy: bool,
    netspy: &'static str,
    kernel: String,
    arch: String,
    capabilities: Capabilities,
    /// What the machine allows.
    machine: Vec<Finding>,
    /// What is traced.
    events: Vec<Event>,
}

/// By name; those that matter to netspy.
#[derive(Debug, Serialize)]
struct Capabilities {
    effective: Vec<&'static str>,
    bounding: Vec<&'static str>,
    lacking: Vec<&'static str>,
}

/// One event.
#[derive(Debug, Serialize)]
struct Event {
    name: &'static str,
    status: &'static str,
    rung: &'static str,
    /// `passed`, `undone`, `failed` or `none`.
    check: &'static str,
    /// Why it was not done, or how it failed.
    check_note: String,
    refused: Vec<Refused>,
    remarks: Vec<String>,
}

/// A rung that the event does not stand on.
#[derive(Debug, Serialize)]
struct Refused {
    rung: &'static str,
    reason: String,
    remedy: String,
}

/// Looks, and says what it found; fails only if it cannot be said.
pub fn run(flags: &DoctorFlags) -> anyhow::Result<ExitCode> {
    let machine = Machine::read();
    let function_entry = kernel::function_entry();
    let options = Options { hooks: flags.hooks, ..Options::default() };
    let hooks = match start::trace(&options) {
        Ok(started) => started.hooks,
        Err(StartError::Load(LoadError::NothingAttaches(hooks))) => hooks,
        Err(error) => nothing(&error),
    };
    let report = report(&machine, function_entry.as_ref(), &hooks);
    let mut out = io::stdout().lock();
    match flags.output {
        Output::Json => writeln!(out, "{}", serde_json::to_string(&report)?)?,
        Output::Text => write!(out, "{}", text::render(&report))?,
    }
    Ok(if report.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every event, refused for one reason.
fn nothing(error: &StartError) -> Vec<Hook> {
    let (reason, remedy) = match error {
        StartError::Load(error) => error.explained(),
        StartError::Read(_) => (error.to_string(), "report it with the log of netspy-server -vv".to_owned()),
    };
    let hook = |event| Hook {
        event,
        rung: "none",
        state: HookState::Unavailable,
        refused: vec![Refusal { rung: "all", reason: reason.clone(), remedy: remedy.clone() }],
        remarks: Vec::new(),
        check: Check::None,
    };
    kernel::events().map(hook).collect()
}

fn report(machine: &Machine, function_entry: Option<&Refusal>, hooks: &[Hook]) -> Report {
    Report {
        healthy: hooks.iter().all(|hook| hook.state == HookState::Active),
        netspy: env!("CARGO_PKG_VERSION"),
        kernel: machine.release.clone(),
        arch: machine.arch.clone(),
        capabilities: Capabilities {
            effective: machine.effective.names(),
            bounding: machine.bounding.names(),
            lacking: machine.effective.lacking(),
        },
        machine: findings(machine, function_entry),
        events: hooks.iter().map(event).collect(),
    }
}

fn event(hook: &Hook) -> Event {
    let (check, check_note) = match &hook.check {
        Check::None => ("none", ""),
        Check::Passed => ("passed", ""),
        Check::Undone(why) => ("undone", why.as_str()),
        Check::Failed(how) => ("failed", how.as_str()),
    };
    let refused = hook.refused.iter().map(|refusal| Refused {
        rung: refusal.rung,
        reason: refusal.reason.clone(),
        remedy: refusal.remedy.clone(),
    });
    Event {
        name: hook.event,
        status: if hook.state == HookState::Active { "active" } else { "inactive" },
        rung: hook.rung,
        check,
        check_note: check_note.to_owned(),
        refused: refused.collect(),
        remarks: hook.remarks.clone(),
    }
}
