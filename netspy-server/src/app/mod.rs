//! The composition root: the only place that names concrete types, and the life of the server from its
//! settings to its exit code.

mod origin;
mod signals;

use std::{
    fs,
    net::IpAddr,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
};

use anyhow::{Context, bail};
use rustix::thread::CapabilitySet;
use tokio::sync::watch;

use crate::{
    access::{self, Door, token::Tokens},
    cli::Serving,
    config::Said,
    domain::{Clock, Hook, HookState},
    feed::Feed,
    http::{Api, ApiState},
    pipeline::{Gate, Pipeline},
    privileges,
    source::OwnPrograms,
    store::{self, SqliteHistory, SqliteSink},
    systemd,
};
use signals::Reload;

/// Runs the server until it is told to stop.
pub fn run(said: Said) -> anyhow::Result<()> {
    let serving = said.flags.serving.clone();
    let settings = &serving.settings;
    let tokens = settings.token_file.clone().map(Tokens::open).transpose()?.map(Arc::new);
    let doors =
        access::doors(settings.listen, &settings.socket, serving.is_made("socket"), tokens.is_some())?;
    let places: Vec<_> = doors.iter().map(Door::place).collect::<Result<_, _>>()?;
    let origin = origin::open(&serving)?;
    let (sink, history) = open_history(&serving)?;
    tell(&origin.hooks);

    let (feed, programs) = (Arc::new(Feed::default()), Arc::new(OwnPrograms::now()));

    // Everything is open. What begins from here on, every thread that reads what others write, has no more than this.
    let kept = if serving.replay.is_some() { CapabilitySet::empty() } else { privileges::KEPT };
    privileges::confine(kept)?;
    let reload = Reload::new(said, sink.bounds(), tokens.clone());
    let (pipeline, gate) = Pipeline::new(origin.source, origin.host, Box::new(sink), feed.clone())?;
    let gate = Arc::new(gate);
    let (ended, pipeline_ended) = watch::channel(false);
    let worker = thread::Builder::new().name("pipeline".to_owned()).spawn(move || {
        let result = pipeline.run();
        let _ = ended.send(true);
        result
    })?;
    let stopping = feed.clone();
    let state = ApiState {
        history: Arc::new(history),
        barrier: gate.clone(),
        clock: origin.clock,
        feed,
        programs,
        hooks: origin.hooks.into(),
        sockets: origin.sockets,
        allowed_hosts: hosts(&serving, &doors).into(),
        answers: Arc::default(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let served = runtime.block_on(async {
        let stopped = signals::until_stopped(pipeline_ended, stopping)?;
        signals::reload_on_hangup(reload)?;
        signals::watch(&gate);
        for place in &places {
            tracing::info!("serving on {place}");
        }
        systemd::ready();
        access::serve(doors, Api::of(state), tokens, stopped).await
    });
    systemd::stopping();
    let finished = finish(&gate, worker);
    if let Some(recorder) = origin.recorder {
        recorder.finish(Clock::System.now_ns());
    }
    served.context("serving ended")?;
    finished
}

fn open_history(serving: &Serving) -> anyhow::Result<(SqliteSink, SqliteHistory)> {
    if serving.replay.is_some() && !serving.is_made("db") {
        return Ok(store::open_temporary()?);
    }
    create_directory_of(&serving.settings.db)?;
    Ok(store::open(&serving.settings.db, serving.settings.keep())?)
}

fn tell(hooks: &[Hook]) {
    for hook in hooks {
        if hook.state == HookState::Unavailable {
            tracing::error!(event = hook.event, "not traced: {}", hook.note());
        } else {
            tracing::info!(event = hook.event, rung = hook.rung, note = hook.note(), "traced");
        }
    }
}

/// By which names, besides those of the loopback, others may ask.
fn hosts(serving: &Serving, doors: &[Door]) -> Vec<String> {
    let addresses = doors.iter().filter_map(Door::address).map(|address| address.ip());
    let certain = addresses.filter(|ip: &IpAddr| !ip.is_unspecified()).map(|ip| ip.to_string());
    serving.settings.allow_host.iter().cloned().chain(certain).collect()
}

fn create_directory_of(path: &Path) -> anyhow::Result<()> {
    let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) else {
        return Ok(());
    };
    fs::create_dir_all(directory).with_context(|| {
        format!(
            "cannot create {}: run netspy-server as root, or choose another file with --db",
            directory.display()
        )
    })
}

/// Lets the pipeline write what there is.
fn finish(gate: &Gate, worker: JoinHandle<std::io::Result<()>>) -> anyhow::Result<()> {
    gate.stop();
    match worker.join() {
        Ok(result) => result.context("tracing ended"),
        Err(_) => bail!("tracing ended: the pipeline panicked; please report it with the log above"),
    }
}
