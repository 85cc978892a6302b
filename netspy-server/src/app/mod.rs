//! The composition root: the only place that names concrete types, and the life of the server from its
//! flags to its exit code.

use std::{
    fs,
    io::ErrorKind,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    cli::Flags,
    domain::{Check, Clock, Hook, HookState, Host, Sockets, Source},
    enrich::Machine,
    feed::Feed,
    http::{ApiState, router},
    pipeline::{Gate, Pipeline},
    source::{OwnPrograms, Recorder, RecordingHost, RecordingSource, Replay, TraceHeader, existing, kernel},
    start, store,
};

/// How long open requests may take once the server is told to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Where records come from in this run.
struct Origin {
    source: Box<dyn Source>,
    host: Box<dyn Host>,
    hooks: Vec<Hook>,
    clock: Clock,
    sockets: Arc<dyn Sockets>,
    recorder: Option<Recorder>,
}

/// Runs the server until it is told to stop.
pub fn run(flags: &Flags) -> anyhow::Result<()> {
    let address = flags.address().map_err(|message| anyhow!(message))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let listener = runtime.block_on(bind(address))?;
    let address = listener.local_addr()?;

    let origin = match &flags.replay {
        Some(path) => replayed(path)?,
        None => traced(flags)?,
    };
    let (sink, history) = match flags.database() {
        Some(path) => {
            create_directory_of(&path)?;
            store::open(&path, flags.keep())?
        }
        None => store::open_temporary()?,
    };
    for hook in &origin.hooks {
        if hook.state == HookState::Unavailable {
            tracing::error!(event = hook.event, "not traced: {}", hook.note());
        } else {
            tracing::info!(event = hook.event, rung = hook.rung, note = hook.note(), "traced");
        }
    }

    let (feed, programs) = (Arc::new(Feed::default()), Arc::new(OwnPrograms::now()));
    let (pipeline, gate) = Pipeline::new(origin.source, origin.host, Box::new(sink), feed.clone())?;
    let gate = Arc::new(gate);
    let (ended, pipeline_ended) = watch::channel(false);
    let worker = thread::Builder::new().name("pipeline".to_owned()).spawn(move || {
        let result = pipeline.run();
        let _ = ended.send(true);
        result
    })?;
    let state = ApiState {
        history: Arc::new(history),
        barrier: gate.clone(),
        clock: origin.clock,
        feed,
        programs,
        hooks: origin.hooks.into(),
        sockets: origin.sockets,
        allowed_hosts: Arc::new([]),
    };
    tracing::info!("serving on http://{address}");
    let served = runtime.block_on(serve(listener, state, pipeline_ended));
    let finished = finish(&gate, worker);
    if let Some(recorder) = origin.recorder {
        recorder.finish(Clock::System.now_ns());
    }
    served?;
    finished
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => bail!(
            "{address} is in use: stop the other program, or choose another port with --port (0 for any that is free)"
        ),
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address}")),
    }
}

/// The running kernel.
fn traced(flags: &Flags) -> anyhow::Result<Origin> {
    let loaded = start::trace(&flags.tracing())?;
    let told = loaded.hooks.iter().any(|hook| hook.event == "process" && hook.state == HookState::Active);
    let host = Machine::new(loaded.names.clone(), told, flags.cmdline);
    let (source, hooks, clock) = (loaded.source, loaded.hooks, Clock::System);
    let sockets = Arc::new(existing::Machine);
    let Some(path) = &flags.record else {
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

/// Serves until the server is told to stop; requests under way then get a little time.
async fn serve(
    listener: TcpListener,
    state: ApiState,
    pipeline_ended: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let (stopping, mut stopped) = watch::channel(false);
    let feed = state.feed.clone();
    let until_told = async move {
        until_stopped(pipeline_ended).await;
        feed.close(); // a stream would go on for ever
        let _ = stopping.send(true);
    };
    let server = axum::serve(listener, router(state)).with_graceful_shutdown(until_told);
    let too_late = async {
        let _ = stopped.wait_for(|stopped| *stopped).await;
        tokio::time::sleep(STOP_WITHIN).await;
    };
    tokio::select! {
        result = server => result.context("serving ended"),
        () = too_late => Ok(()),
    }
}

/// Resolves when the server is told to stop, or when nothing is traced any more.
async fn until_stopped(mut pipeline_ended: watch::Receiver<bool>) {
    let told = async {
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return std::future::pending().await;
        };
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    };
    tokio::select! {
        () = told => tracing::info!("told to stop"),
        _ = pipeline_ended.wait_for(|ended| *ended) => {}
    }
}

/// Lets the pipeline write what there is.
fn finish(gate: &Gate, worker: JoinHandle<std::io::Result<()>>) -> anyhow::Result<()> {
    gate.stop();
    match worker.join() {
        Ok(result) => result.context("tracing ended"),
        Err(_) => bail!("tracing ended: the pipeline panicked; please report it with the log above"),
    }
}
