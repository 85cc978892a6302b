//! What every part of the benchmark needs: the programs, built with optimisation, the generator, and facts about
//! this machine that its numbers depend on.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::process::setpriority_process;
use serde::Serialize;
use serde_json::Value;

use super::generator::Generator;
use super::server::Server;
use super::{peers, programs};
use crate::packages::{self, Package};
use crate::{command, workspace};

/// As `nice(1)` counts.
const HIGHEST_PRIORITY: i32 = -20;

const PACKAGES: &[Package] =
    &[Package { debian: "iproute2", provides: "ip" }, Package { debian: "bpftool", provides: "bpftool" }];

/// Ready to measure.
pub(super) struct Bench {
    pub(super) root: PathBuf,
    pub(super) generator: Generator,
    server: PathBuf,
}

impl Bench {
    /// Installs and builds what is missing.
    pub(super) fn prepare() -> Result<Self> {
        let root = workspace::root()?;
        if !packages::is_root()? {
            bail!("the benchmark traces the kernel: run it as root, sudo -E cargo xtask bench kernel");
        }
        packages::ensure(&root, PACKAGES)?;
        packages::ensure(&root, peers::PACKAGES)?;
        command::run(command::cargo(&root).args(["build", "--quiet", "--release", "--locked"]).args([
            "--package",
            "netspy-server",
            "--bin",
            "netspy-server",
            "--package",
            "xtask",
            "--bin",
            "xtask",
        ]))?;
        let programs = workspace::target(&root).join("release");
        // Children inherit it: what else the machine does then costs all of them little, and alike.
        setpriority_process(None, HIGHEST_PRIORITY).context("cannot raise the priority")?;
        let generator = Generator::start(&root, &programs.join("xtask"), cpus())?;
        Ok(Self { root, generator, server: programs.join("netspy-server") })
    }

    /// A server with an empty history on disk.
    pub(super) fn start_server(&self) -> Result<Server> {
        Server::start(&self.server, &self.directory("server"))
    }

    /// A directory for what a part of the benchmark writes, on the disk that the sources are on.
    pub(super) fn directory(&self, part: &str) -> PathBuf {
        workspace::target(&self.root).join("bench/kernel").join(part)
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What numbers depend on.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    kernel: String,
    processor: String,
    cpus: usize,
    kprobes: bool,
    /// Programs of other people, which are part of every measurement: of nothing, too.
    tracing_programs: Vec<String>,
}

impl Machine {
    pub(super) fn look(root: &Path) -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        Ok(Self {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            processor: model.map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':'])).to_owned(),
            cpus: cpus(),
            kprobes: Path::new("/sys/bus/event_source/devices/kprobe").exists(),
            tracing_programs: tracing_programs(root)?,
        })
    }

    /// One line for people.
    pub(super) fn sentence(&self) -> String {
        let kprobes = if self.kprobes { "kprobes" } else { "no kprobes" };
        let others = match &self.tracing_programs[..] {
            [] => String::new(),
            names => format!("; other programs traced at the start: {}", names.join(", ")),
        };
        format!("Linux {}, {}, {} CPUs, {kprobes}{others}", self.kernel, self.processor, self.cpus)
    }
}

/// Names of the tracing programs that are loaded.
fn tracing_programs(root: &Path) -> Result<Vec<String>> {
    let traces = |program: &&Value| program["type"].as_str().is_some_and(|kind| TRACING.contains(&kind));
    let name = |program: &Value| program["name"].as_str().unwrap_or("unnamed").to_owned();
    Ok(programs::loaded(root)?.iter().filter(traces).map(name).collect())
}

const TRACING: [&str; 6] =
    ["kprobe", "tracepoint", "raw_tracepoint", "raw_tracepoint_writable", "tracing", "perf_event"];
