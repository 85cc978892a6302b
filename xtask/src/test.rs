//! `test` (also `ci`): everything that must pass before a commit, on any machine, one step after the other.
//!
//! A failing step does not hide the later ones; nextest is last, so that its summary of tests closes the output.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::packages::{self, Tool};
use crate::{build_ebpf, command, suites, tidy, vm, workspace};

/// Built without optimisation: they run for seconds, and would compile for many minutes.
const TOOLS: &[Tool] = &[
    Tool {
        name: "cargo-nextest",
        version: "0.9.151",
        arguments: &["--debug", "--no-default-features", "--features", "default-no-update"],
        environment: &[],
    },
    Tool { name: "cargo-deny", version: "0.20.2", arguments: &["--debug"], environment: &[] },
];

/// A name and what it does.
type Step = (&'static str, fn(&Path) -> Result<()>);

/// Cheap ones first. Each is a name that can be looked for in the output.
const STEPS: &[Step] = &[
    ("format", format),
    ("clippy", |root| {
        cargo(
            root,
            &["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
        )
    }),
    ("licenses, bans, sources", |root| {
        cargo(root, &["deny", "--log-level", "error", "check", "licenses", "bans", "sources"])
    }),
    ("tidy", |_| tidy::job()),
    ("eBPF object is current", |_| build_ebpf::job(&build_ebpf::Arguments::check())),
    ("outside suites", |_| suites::job()),
    ("scenarios on real kernels", |_| vm::job(&vm::Arguments::once())),
    ("tests", |root| cargo(root, &["nextest", "run", "--workspace", "--locked"])),
];

/// Runs every step.
pub(crate) fn job() -> Result<()> {
    let root = workspace::root()?;
    announced("what the steps need", || prepare(&root)).1?;
    let mut failures = Vec::new();
    for (name, step) in STEPS {
        let (duration, result) = announced(name, || step(&root));
        if let Err(error) = result {
            eprintln!("error: {name} (after {:.1} s): {error:#}", duration.as_secs_f32());
            failures.push(*name);
        }
    }
    if !failures.is_empty() {
        bail!("{} of {} steps failed: {}", failures.len(), STEPS.len(), failures.join("; "));
    }
    Ok(())
}

/// Says what runs, and how long it took.
fn announced(name: &str, step: impl FnOnce() -> Result<()>) -> (Duration, Result<()>) {
    println!("==> {name}");
    let started = Instant::now();
    let result = step();
    let duration = started.elapsed();
    if result.is_ok() {
        println!("<== {name}: ok, {:.1} s", duration.as_secs_f32());
    }
    (duration, result)
}

fn prepare(root: &Path) -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("the tests trace the Linux kernel, and this is {}", std::env::consts::OS);
    }
    if !packages::is_root()? {
        bail!(
            "the tests load eBPF programs and make network namespaces: run them as root, sudo -E cargo xtask test"
        );
    }
    packages::ensure(root, PACKAGES)?;
    TOOLS.iter().try_for_each(|tool| packages::ensure_tool(root, tool))
}

/// What the tests of this machine call; the guests bring their own.
const PACKAGES: &[packages::Package] = &[
    packages::Package { debian: "curl", provides: "curl" },
    packages::Package { debian: "iproute2", provides: "ip" },
    // Judges the unit; it need not run here.
    packages::Package { debian: "systemd", provides: "systemd-analyze" },
    packages::Package { debian: "util-linux", provides: "setpriv" },
    // The C compiler for SQLite, and the C library to link statically.
    packages::Package { debian: "gcc", provides: "cc" },
    packages::Package { debian: "libc6-dev", provides: "/usr/include/stdlib.h" },
    packages::Package { debian: "nftables", provides: "nft" },
];

fn format(root: &Path) -> Result<()> {
    cargo(root, &["fmt", "--all", "--check"])?;
    // Outside the workspace, so `--all` does not reach them.
    let outside = ["netspy-ebpf/Cargo.toml", "netspy-server/benches/columnar/Cargo.toml"];
    outside.iter().try_for_each(|package| cargo(root, &["fmt", "--check", "--manifest-path", package]))
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    command::run(command::cargo(root).args(arguments))
}
