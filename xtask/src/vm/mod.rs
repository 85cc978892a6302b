//! `vm`: the scenario tests inside real Debian kernels, in QEMU without hardware acceleration.
//!
//! One boot per kernel runs every requested rung. What is tested is the static build of the same sources; what the
//! guest prints is the only channel back (`serial`). Everything is kept below `target/vm`.

pub(crate) mod apt;
pub(crate) mod architecture;
mod binaries;
pub(crate) mod boot;
mod cross;
pub(crate) mod initramfs;
pub(crate) mod kernel;
mod modules;
mod serial;
mod table;
pub(crate) mod userland;

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use self::architecture::Architecture;
use self::binaries::Binaries;
use self::kernel::Series;
use self::userland::Userland;
use crate::packages::{self, Package};
use crate::workspace;

/// Guests that run at once; each takes one real processor, however many it has itself.
const BOOTS_AT_ONCE: usize = 2;

/// Debian packages that the job needs on the host, whatever the guest's processor.
const PACKAGES: &[Package] = &[
    Package { debian: "binutils", provides: "readelf" },
    Package { debian: "cpio", provides: "cpio" },
    Package { debian: "kmod", provides: "depmod" },
    Package { debian: "xz-utils", provides: "xz" },
    Package { debian: "zstd", provides: "zstd" },
];

/// After the rungs each kernel is locked down, and one more scenario runs.
const LOCKDOWN: &str = "lockdown";
/// What is made from the runs.
const TABLE: &str = "docs/kernels.md";

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
    /// Processor of the guests
    #[arg(long = "arch", value_name = "ARCH", default_value = "x86_64")]
    architecture: Architecture,
    /// Kernel series, repeatable; all of them if none is named
    #[arg(long = "kernel", value_name = "SERIES", value_parser = Series::parse)]
    kernels: Vec<&'static Series>,
    /// Hooks to use, repeatable; both if none is named
    #[arg(long = "rung", value_name = "RUNG")]
    rungs: Vec<Rung>,
    /// Only scenarios whose name contains this
    #[arg(long, value_name = "WORD", default_value = "")]
    scenario: String,
    /// Run each scenario that often, without the second try that it has otherwise: finds what fails once in a while
    #[arg(long, value_name = "TIMES", default_value = "1", requires = "scenario")]
    repeat: NonZeroUsize,
    /// Run what does not depend on the rung once on each kernel, not on each of its rungs
    #[arg(long)]
    once: bool,
    /// Bring docs/kernels.md up to date instead of failing where it is not
    #[arg(long)]
    write: bool,
}

impl Arguments {
    /// Every scenario on every kernel, on this machine's kind of processor; on every rung if it depends on that.
    pub(crate) fn once() -> Self {
        Self {
            architecture: Architecture::X86_64,
            kernels: Vec::new(),
            rungs: Vec::new(),
            scenario: String::new(),
            repeat: NonZeroUsize::MIN,
            once: true,
            write: false,
        }
    }
}

/// Boots the kernels and fails if any rung of any of them fails.
pub(crate) fn job(arguments: &Arguments) -> Result<()> {
    let root = workspace::root()?;
    let architecture = arguments.architecture;
    packages::ensure(&root, PACKAGES)?;
    packages::ensure(&root, architecture.packages())?;
    let kernels =
        if arguments.kernels.is_empty() { kernel::ALL.iter().collect() } else { arguments.kernels.clone() };
    let rungs = if arguments.rungs.is_empty() {
        vec![Rung::Kprobe, Rung::Tracepoint]
    } else {
        arguments.rungs.clone()
    };
    // One after the other, before any boot: apt and cargo lock what they work on.
    let programs = Programs {
        binaries: binaries::build(&root, architecture)?,
        userland: userland::ensure(&root, architecture)?,
    };
    for series in &kernels {
        kernel::ensure(&root, architecture, series).with_context(|| format!("kernel {}", series.name))?;
    }
    if let Some(other) =
        arguments.scenario.chars().find(|c| !c.is_ascii_lowercase() && !c.is_ascii_digit() && *c != '_')
    {
        bail!("a scenario's name has no {other:?}: see netspy-server/tests/live/scenarios.rs");
    }
    let plan = |(at, series)| {
        let mut rungs = rungs.clone();
        if at % 2 == 1 {
            rungs.reverse(); // what is run once is run on both of them, on one kernel or the other
        }
        let scenario = arguments.scenario.clone();
        Plan { series, architecture, rungs, scenario, repeat: arguments.repeat, once: arguments.once }
    };
    let outcomes = boot_all(&root, &programs, kernels.into_iter().enumerate().map(plan).collect());
    // What the guests offer does not depend on whether a scenario failed.
    let updated = update_table(&root, &outcomes, arguments.write);
    for again in outcomes.iter().flat_map(|outcome| &outcome.second_tries) {
        println!("second try: {again}");
    }
    let failures: Vec<&str> =
        outcomes.iter().flat_map(|outcome| &outcome.failures).map(String::as_str).collect();
    if !failures.is_empty() {
        bail!("{} of the rungs failed:\n    {}", failures.len(), failures.join("\n    "));
    }
    updated
}

/// What is put into every guest.
struct Programs {
    binaries: Binaries,
    userland: Userland,
}

/// What a guest is and does.
struct Plan {
    series: &'static Series,
    architecture: Architecture,
    rungs: Vec<Rung>,
    /// Part of the names of the scenarios that it runs; empty for all.
    scenario: String,
    /// How often each of them runs.
    repeat: NonZeroUsize,
    /// Leave out on the second rung what does not depend on it.
    once: bool,
}

/// Compares the document with what the guests said, or makes it say that.
fn update_table(root: &Path, outcomes: &[Outcome], write: bool) -> Result<()> {
    let rungs = [Rung::Kprobe, Rung::Tracepoint];
    let columns = |architecture| {
        let of = |series| rungs.map(|rung| column(architecture, series, &rung.to_string()));
        kernel::ALL.iter().flat_map(of).collect()
    };
    let mut table = table::Table::new(Architecture::ALL.map(columns).into());
    let document = fs::read_to_string(root.join(TABLE)).unwrap_or_default();
    table.read(&document);
    for (column, events) in outcomes.iter().flat_map(|outcome| &outcome.columns) {
        table.replace(column, events);
    }
    if table.document() == document {
        return Ok(());
    }
    if !write {
        bail!(
            "{TABLE} does not say what these kernels gave: run this again with `--write`, then look at the difference"
        );
    }
    fs::write(root.join(TABLE), table.document()).with_context(|| format!("cannot write {TABLE}"))
}

/// The name of what one kernel gave on one rung.
fn column(architecture: Architecture, series: &Series, part: &str) -> String {
    architecture.label(&format!("{} {part}", series.name))
}

/// What came of one kernel's boot.
#[derive(Default)]
struct Outcome {
    /// One line each.
    failures: Vec<String>,
    /// Scenarios that did not pass at their first try, one line each.
    second_tries: Vec<String>,
    /// A column's name in the table, and the events that the doctor reported.
    columns: Vec<(String, serde_json::Value)>,
}

/// In the order of completion.
fn boot_all(root: &Path, programs: &Programs, plans: VecDeque<Plan>) -> Vec<Outcome> {
    let queue = Mutex::new(plans);
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..BOOTS_AT_ONCE {
            scope.spawn(|| {
                // The lock must not be held while a kernel runs.
                let next = || lock(&queue).pop_front();
                while let Some(plan) = next() {
                    let outcome = boot_one(root, programs, &plan);
                    lock(&outcomes).push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The data is whole even if another thread panicked: every access is a single push or pop.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn boot_one(root: &Path, programs: &Programs, plan: &Plan) -> Outcome {
    let series = plan.series;
    let started = Instant::now();
    let directory = plan.architecture.directory(root).join("boot").join(series.name);
    let booted = kernel::ensure(root, plan.architecture, series)
        .and_then(|kernel| boot::run(&directory, programs, &kernel, plan));
    let seconds = started.elapsed().as_secs_f32();
    let mut outcome = Outcome::default();
    let transcript = match booted {
        Ok(transcript) => transcript,
        Err(error) => {
            outcome.failures.push(format!("{}: {error:#}", plan.architecture.label(series.name)));
            return outcome;
        }
    };
    for part in plan.rungs.iter().map(Rung::to_string).chain([LOCKDOWN.to_owned()]) {
        let name = column(plan.architecture, series, &part);
        outcome.second_tries.extend(transcript.second_tries(&part).map(|which| format!("{name}: {which}")));
        match transcript.outcome(&part) {
            Ok(passed) => println!("{name}: ok, {passed} passed (boot of {seconds:.1} s)"),
            Err(reason) => outcome.failures.push(format!("{name}: {reason}")),
        }
        if part != LOCKDOWN {
            match transcript.events(&part) {
                Some(events) => outcome.columns.push((name, events)),
                // Only the whole table asks the doctor.
                None if !plan.scenario.is_empty() => {}
                None => outcome.failures.push(format!("{name}: the doctor said nothing about the events")),
            }
        }
    }
    outcome
}
