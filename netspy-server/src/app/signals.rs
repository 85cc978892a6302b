//! What reaches a running server from outside the API: signals, and systemd's watchdog.

use std::{env, io, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::spawn_blocking,
};

use crate::{
    access::token::Tokens,
    config::{self, Said, Setting},
    feed::Feed,
    pipeline::Gate,
    store::Bounds,
    systemd,
};

/// Becomes true when the server is told to stop, or when nothing is traced any more.
pub(super) fn until_stopped(
    mut pipeline_ended: watch::Receiver<bool>,
    feed: Arc<Feed>,
) -> io::Result<watch::Receiver<bool>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (stopping, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => tracing::info!("told to stop"),
            _ = terminate.recv() => tracing::info!("told to stop"),
            _ = pipeline_ended.wait_for(|ended| *ended) => {}
        }
        feed.close(); // a stream would go on for ever
        let _ = stopping.send(true);
    });
    Ok(stopped)
}

/// Settings that are taken over while the server runs; the others wait for a restart.
const RELOADED: [&str; 2] = ["keep-for", "keep-size"];

/// Reads settings and tokens again.
pub(super) struct Reload {
    settings: Vec<Setting>,
    bounds: Bounds,
    tokens: Option<Arc<Tokens>>,
}

impl Reload {
    pub(super) fn new(said: Said, bounds: Bounds, tokens: Option<Arc<Tokens>>) -> Self {
        Self { settings: said.settings, bounds, tokens }
    }

    /// What cannot be read changes nothing.
    fn reload(&mut self) {
        if let Some(Err(error)) = self.tokens.as_ref().map(|tokens| tokens.reload()) {
            tracing::error!("the tokens stay as they were: {error}");
        }
        let said = match config::read(env::args_os()) {
            Ok(said) => said,
            Err(error) => return tracing::error!("the settings stay as they were: {error}"),
        };
        self.bounds.set(said.flags.serving.settings.keep());
        let changed = said.settings.iter().filter(|new| self.settings.iter().any(|old| is_changed(old, new)));
        for Setting { name, value, .. } in changed {
            let value = value.as_deref().unwrap_or("nothing");
            if RELOADED.contains(&name.as_str()) {
                tracing::info!("{name} is {value} from now on");
            } else {
                tracing::warn!("{name} will be {value} when the server is restarted");
            }
        }
        tracing::info!("settings and tokens were read again");
        self.settings = said.settings;
    }
}

fn is_changed(old: &Setting, new: &Setting) -> bool {
    old.name == new.name && old.value != new.value
}

/// SIGHUP reads settings and tokens again.
pub(super) fn reload_on_hangup(mut reload: Reload) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            systemd::reloading();
            let done = spawn_blocking(move || {
                reload.reload();
                reload
            });
            let Ok(again) = done.await else { return };
            reload = again;
            systemd::ready();
        }
    });
    Ok(())
}

/// The pipeline must answer within this time to be called alive: a query would not wait longer either.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// Tells systemd, as often as it wants to know, that the pipeline is at work.
pub(super) fn watch(gate: &Arc<Gate>) {
    let Some(every) = systemd::watchdog() else { return };
    let gate = Arc::downgrade(gate);
    tokio::spawn(async move {
        let mut due = tokio::time::interval(every);
        loop {
            due.tick().await;
            let Some(gate) = gate.upgrade() else { return };
            if spawn_blocking(move || gate.answers_within(ANSWERS_WITHIN)).await.unwrap_or(false) {
                systemd::alive();
            }
        }
    });
}
