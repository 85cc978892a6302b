//! Beginning to trace: what loads and attaches is checked, and what is wrong is not served. The server and
//! `doctor` begin alike.

use std::io;

use thiserror::Error;

use crate::{
    canary,
    domain::{Check, Hook, HookState, KernelNames, Refusal},
    source::{
        ResumedSource,
        existing::{self, ExistingSource},
        kernel::{self, KernelSource, LoadError, Options},
    },
};

/// Why tracing could not begin.
#[derive(Debug, Error)]
pub enum StartError {
    /// Nothing can be traced.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The rings cannot be read.
    #[error("the kernel's records cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// A kernel that reports what is true.
pub struct Started {
    /// Its records.
    pub source: ExistingSource<ResumedSource<KernelSource>>,
    /// What is traced, and how.
    pub hooks: Vec<Hook>,
    /// What the kernel calls its numbers.
    pub names: KernelNames,
}

/// Loads, attaches and checks.
pub fn trace(options: &Options) -> Result<Started, StartError> {
    let mut loaded = kernel::load(options)?;
    let active = |hook: &&Hook| hook.state == HookState::Active;
    let traced: Vec<_> = loaded.hooks.iter().filter(active).map(|hook| hook.event).collect();
    let canary::Outcome { checks, wrong, mut kept } =
        canary::check(&mut loaded.source, &loaded.names.drop_reasons, &traced)?;
    for (event, check) in checks {
        match check {
            Check::Failed(how) => loaded.disable(event, &how),
            check => {
                // One that was disabled with what it builds on stays disabled.
                let served = loaded.hooks.iter_mut().filter(|hook| hook.state == HookState::Active);
                served.filter(|hook| hook.event == event).for_each(|hook| hook.check = check.clone());
            }
        }
    }
    // What cannot be checked is not served either where it tells what was wrong elsewhere.
    for event in traced {
        let told = kernel::tells(event).iter().find_map(|aspect| wrong.get(aspect));
        if let Some(other) = told {
            loaded.disable(event, &format!("it reads from the kernel what was wrong in the event {other}"));
        }
    }
    let failed = |hook: &&Hook| matches!(hook.check, Check::Failed(_));
    let disabled: Vec<_> = loaded.hooks.iter().filter(failed).map(|hook| hook.event).collect();
    if !disabled.is_empty() {
        kept = canary::without(&disabled, kept, &mut loaded.source)?;
    }
    if !loaded.is_worth_serving() {
        return Err(LoadError::NothingAttaches(loaded.hooks).into());
    }
    // Before the listing whose sockets are told: what is closed after it has its end told too.
    let followed = existing::connected_unix_sockets()
        .and_then(|inodes| loaded.source.follow_unix(&inodes).map_err(io::Error::other));
    if let Err(error) = followed {
        tracing::warn!(%error, "of UNIX sockets that were connected before, the end is not seen");
    }
    let (source, listed) = ExistingSource::new(ResumedSource::new(kept, loaded.source));
    loaded.hooks.push(existing_sockets(listed));
    Ok(Started { source, hooks: loaded.hooks, names: loaded.names })
}

fn existing_sockets(listed: io::Result<()>) -> Hook {
    let rung = "sock_diag";
    let refusal = |error: io::Error| Refusal {
        rung,
        reason: format!("{error}; what existed before the start is unknown"),
        remedy: "load the modules tcp_diag, udp_diag and unix_diag".to_owned(),
    };
    let (rung, state) = match listed {
        Ok(()) => (rung, HookState::Active),
        Err(_) => ("none", HookState::Unavailable),
    };
    let refused = listed.err().map(refusal).into_iter().collect();
    Hook { event: "existing_sockets", rung, state, refused, remarks: Vec::new(), check: Check::None }
}
