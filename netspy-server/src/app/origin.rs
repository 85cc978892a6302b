//! Where records come from in this run: the kernel, or a recording.

use std::{path::Path, sync::Arc};

use anyhow::Context;

use crate::{
    cli::Serving,
    domain::{Check, Clock, Hook, HookState, Host, Sockets, Source},
    enrich::Machine,
    source::{Recorder, RecordingHost, RecordingSource, Replay, TraceHeader, existing, kernel},
    start,
};

/// A source, and what belongs to it.
pub(super) struct Origin {
    pub(super) source: Box<dyn Source>,
    pub(super) host: Box<dyn Host>,
    pub(super) hooks: Vec<Hook>,
    pub(super) clock: Clock,
    pub(super) sockets: Arc<dyn Sockets>,
    pub(super) recorder: Option<Recorder>,
}

/// Opens it.
pub(super) fn open(serving: &Serving) -> anyhow::Result<Origin> {
    match &serving.replay {
        Some(path) => replayed(path),
        None => traced(serving),
    }
}

/// The running kernel.
fn traced(serving: &Serving) -> anyhow::Result<Origin> {
    let loaded = start::trace(&serving.tracing())?;
    let told = loaded.hooks.iter().any(|hook| hook.event == "process" && hook.state == HookState::Active);
    let host = Machine::new(loaded.names.clone(), told, serving.settings.cmdline);
    let (source, hooks, clock) = (loaded.source, loaded.hooks, Clock::System);
    let sockets = Arc::new(existing::Machine);
    let Some(path) = &serving.record else {
        return Ok(Origin {
            source: Box::new(source),
            host: Box::new(host),
            hooks,
            clock,
            sockets,
            recorder: None,
        });
    };
    let machine = rustix::system::uname();
    let header = TraceHeader {
        abi: netspy_common::ABI_VERSION,
        netspy: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: machine.release().to_string_lossy().into_owned(),
        arch: machine.machine().to_string_lossy().into_owned(),
        names: loaded.names,
    };
    let recorder =
        Recorder::create(path, &header).with_context(|| format!("cannot record to {}", path.display()))?;
    let source = Box::new(RecordingSource::new(source, recorder.clone()));
    let host = Box::new(RecordingHost::new(host, recorder.clone()));
    Ok(Origin { source, host, hooks, clock, sockets, recorder: Some(recorder) })
}

/// A recording.
fn replayed(path: &Path) -> anyhow::Result<Origin> {
    let replay = Replay::open(path).with_context(|| format!("cannot replay {}", path.display()))?;
    let from = format!("recorded on kernel {} ({})", replay.header.kernel, replay.header.arch);
    let hooks = kernel::events().chain(["existing_sockets"]).map(|event| Hook {
        event,
        rung: "replay",
        state: HookState::Replayed,
        refused: Vec::new(),
        remarks: vec![from.clone()],
        check: Check::None,
    });
    Ok(Origin {
        source: Box::new(replay.source),
        host: Box::new(replay.host),
        hooks: hooks.collect(),
        clock: Clock::Frozen(replay.ended_ns),
        sockets: Arc::new(replay.sockets),
        recorder: None,
    })
}
