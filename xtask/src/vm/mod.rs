//! `vm`: the scenario tests inside real Debian kernels, in QEMU without hardware acceleration.
//!
//! One boot per kernel runs every requested rung. What is tested is the static build of the same sources; what the
//! guest prints is the only channel back (`serial`). Everything is kept below `target/vm`.

mod apt;
mod binaries;
mod boot;
mod initramfs;
mod kernel;
mod modules;
mod serial;

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use self::binaries::Binaries;
use self::kernel::Series;
use crate::packages::{self, Package};
use crate::workspace;

/// Guests that run at once: each has two processors, and emulation needs a real one for each.
const BOOTS_AT_ONCE: usize = 2;

/// Debian packages that the job needs on the host.
pub(crate) const PACKAGES: &[Package] = &[
    Package { debian: "qemu-system-x86", provides: "qemu-system-x86_64" },
    Package { debian: "busybox-static", provides: "busybox" },
    Package { debian: "cpio", provides: "cpio" },
    Package { debian: "nftables", provides: "nft" },
    Package { debian: "iproute2", provides: "ip" },
    Package { debian: "kmod", provides: "depmod" },
    Package { debian: "xz-utils", provides: "xz" },
    Package { debian: "zstd", provides: "zstd" },
];

/// Which hooks the server is told to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Rung {
    /// Kprobes where the server has them
    Kprobe,
    /// Tracepoints only
    Tracepoint,
}

impl fmt::Display for Rung {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        })
    }
}

/// Options of `vm`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Kernel series, repeatable; all of them if none is named
    #[arg(long = "kernel", value_name = "SERIES", value_parser = Series::parse)]
    kernels: Vec<&'static Series>,
    /// Hooks to use, repeatable; both if none is named
    #[arg(long = "rung", value_name = "RUNG")]
    rungs: Vec<Rung>,
}

impl Arguments {
    /// Every kernel, every rung.
    pub(crate) fn everything() -> Self {
        Self { kernels: Vec::new(), rungs: Vec::new() }
    }
}

/// Boots the kernels and fails if any rung of any of them fails.
pub(crate) fn job(arguments: &Arguments) -> Result<()> {
    let root = workspace::root()?;
    packages::ensure(&root, PACKAGES)?;
    let kernels =
        if arguments.kernels.is_empty() { kernel::ALL.iter().collect() } else { arguments.kernels.clone() };
    let rungs = if arguments.rungs.is_empty() {
        vec![Rung::Kprobe, Rung::Tracepoint]
    } else {
        arguments.rungs.clone()
    };
    // One after the other, before any boot: apt and cargo lock what they work on.
    let binaries = binaries::build(&root)?;
    for series in &kernels {
        kernel::ensure(&root, series).with_context(|| format!("kernel {}", series.name))?;
    }
    let failures = boot_all(&root, &binaries, kernels, &rungs);
    if !failures.is_empty() {
        bail!("{} of the rungs failed:\n    {}", failures.len(), failures.join("\n    "));
    }
    Ok(())
}

/// One line for each failure, in the order of completion.
fn boot_all(root: &Path, binaries: &Binaries, kernels: Vec<&'static Series>, rungs: &[Rung]) -> Vec<String> {
    let queue = Mutex::new(VecDeque::from(kernels));
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..BOOTS_AT_ONCE {
            scope.spawn(|| {
                while let Some(series) = lock(&queue).pop_front() {
                    let failed = boot_one(root, binaries, series, rungs);
                    lock(&failures).extend(failed);
                }
            });
        }
    });
    failures.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The data is whole even if another thread panicked: every access is a single push or pop.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn boot_one(root: &Path, binaries: &Binaries, series: &'static Series, rungs: &[Rung]) -> Vec<String> {
    let started = Instant::now();
    let booted =
        kernel::ensure(root, series).and_then(|kernel| boot::run(root, binaries, series, &kernel, rungs));
    let seconds = started.elapsed().as_secs_f32();
    let transcript = match booted {
        Ok(transcript) => transcript,
        Err(error) => return vec![format!("{}: {error:#}", series.name)],
    };
    let mut failures = Vec::new();
    for rung in rungs {
        match transcript.outcome(*rung) {
            Ok(passed) => println!("{} {rung}: ok, {passed} passed (boot of {seconds:.1} s)", series.name),
            Err(reason) => failures.push(format!("{} {rung}: {reason}", series.name)),
        }
    }
    failures
}
