//! Which hook, decided by what loads and attaches, never by the kernel's version. Losing one event does not
//! lose the other.

use std::{collections::BTreeMap, io};

use aya::{
    Ebpf, EbpfLoader,
    maps::{MapError, ring_buf::RingBuf},
    programs::{KProbe, ProgramError, RawTracePoint, TracePoint},
};
use aya_log::EbpfLogger;
use netspy_common::KernelLayout;
use thiserror::Error;

use super::{
    btf::BtfError,
    layout::{missing_fields, read_kernel_facts},
    rings::KernelSource,
    tracefs::with_tracefs,
};
use crate::domain::{Hook, HookState};

/// The programs, built by `cargo xtask build-ebpf` and checked in.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/ebpf/netspy-",
    env!("NETSPY_EBPF_ARCH"),
    ".bpf.o"
));

/// What `--hooks` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum HooksChoice {
    /// The best rung that works.
    Auto,
    /// Kprobes or nothing.
    Kprobe,
    /// Tracepoints, even where there are kprobes.
    Tracepoint,
}

/// The rungs on which connects can be had, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rung {
    Kprobe,
    Tracepoint,
}

impl Rung {
    fn name(self) -> &'static str {
        match self {
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }

    fn allowed(choice: HooksChoice) -> &'static [Self] {
        match choice {
            HooksChoice::Auto => &[Self::Kprobe, Self::Tracepoint],
            HooksChoice::Kprobe => &[Self::Kprobe],
            HooksChoice::Tracepoint => &[Self::Tracepoint],
        }
    }
}

/// Why nothing at all can be traced.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Not root, or root without capabilities.
    #[error(
        "loading eBPF programs is not permitted: run netspy-server as root (sudo netspy-server), or give it the capabilities CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN"
    )]
    NotPermitted,
    /// No BTF.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The checked-in object is not for this machine or damaged.
    #[error("the eBPF object cannot be loaded: {0}")]
    Object(#[from] aya::EbpfError),
    /// A map is not there or not what it should be.
    #[error("a map of the eBPF object cannot be used: {0}")]
    Map(#[from] MapError),
    /// Every event failed.
    #[error("nothing can be traced on this kernel: {0}")]
    NothingAttaches(String),
}

/// A kernel that reports.
pub struct Loaded {
    /// Its records.
    pub source: KernelSource,
    /// What is traced, and how.
    pub hooks: Vec<Hook>,
    /// The kernel's names for its drop reasons.
    pub drop_reasons: BTreeMap<u32, String>,
}

/// Loads and attaches what this kernel allows. `verbose` carries the programs' own diagnostics to the log.
pub fn load(choice: HooksChoice, verbose: bool) -> Result<Loaded, LoadError> {
    let facts = read_kernel_facts()?;
    // Kernels before 5.11 charge maps to this limit; where it cannot be raised, loading says so.
    let limit = rustix::process::Rlimit { current: None, maximum: None };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Memlock, limit);
    let mut worse = Vec::new();
    for rung in Rung::allowed(choice) {
        let mut ebpf = open(&facts.layout, *rung, verbose)?;
        match attach_connects(&mut ebpf, *rung, &facts.layout) {
            Ok(note) => {
                worse.extend(note);
                let connection = active("connection", rung.name(), &worse.join("; "));
                return finish(ebpf, connection, facts.layout, facts.drop_reasons, verbose);
            }
            Err(error) if error.is_forbidden() => return Err(LoadError::NotPermitted),
            Err(error) => worse.push(format!("{}: {error}", rung.name())),
        }
    }
    let connection = unavailable("connection", worse.join("; "));
    let rung = Rung::Tracepoint;
    finish(open(&facts.layout, rung, verbose)?, connection, facts.layout, facts.drop_reasons, verbose)
}

/// Attaches what is the same on every rung, and opens the rings.
fn finish(
    mut ebpf: Ebpf,
    connection: Hook,
    layout: KernelLayout,
    drop_reasons: BTreeMap<u32, String>,
    verbose: bool,
) -> Result<Loaded, LoadError> {
    let packet_drop = match attach_drops(&mut ebpf, &layout) {
        Ok(()) if drop_reasons.is_empty() => {
            active("packet_drop", "tracepoint", "this kernel gives no drop reasons (they came with 5.17)")
        }
        Ok(()) => active("packet_drop", "tracepoint", ""),
        Err(error) => unavailable("packet_drop", error.to_string()),
    };
    let hooks = vec![connection, packet_drop];
    if hooks.iter().all(|hook| hook.state == HookState::Unavailable) {
        let notes: Vec<_> = hooks.iter().map(|hook| format!("{}: {}", hook.event, hook.note)).collect();
        return Err(LoadError::NothingAttaches(notes.join("; ")));
    }
    let logger = verbose.then(|| EbpfLogger::init(&mut ebpf)).and_then(|logger| {
        logger.inspect_err(|error| tracing::warn!(%error, "the programs' own log cannot be read")).ok()
    });
    let events = RingBuf::try_from(taken(&mut ebpf, "EVENTS")?)?;
    let drops = RingBuf::try_from(taken(&mut ebpf, "DROPS")?)?;
    let loss = aya::maps::PerCpuArray::try_from(taken(&mut ebpf, "LOSS")?)?;
    let reader = aya::maps::Array::try_from(taken(&mut ebpf, "READER")?)?;
    let source = KernelSource::new(ebpf, events, drops, loss, reader, logger);
    Ok(Loaded { source, hooks, drop_reasons })
}

fn taken(ebpf: &mut Ebpf, name: &str) -> Result<aya::maps::Map, MapError> {
    ebpf.take_map(name).ok_or_else(|| MapError::InvalidName { name: name.to_owned() })
}

fn active(event: &'static str, rung: &'static str, note: &str) -> Hook {
    Hook { event, rung, state: HookState::Active, note: note.to_owned() }
}

fn unavailable(event: &'static str, note: String) -> Hook {
    Hook { event, rung: "none", state: HookState::Unavailable, note }
}

/// Plain old data that the loader may copy into the object.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct InjectedLayout(KernelLayout);

// SAFETY: only u32 fields, `repr(C)`: no padding, every bit pattern valid.
#[allow(unsafe_code)]
unsafe impl aya::Pod for InjectedLayout {}

/// Parses the object and creates its maps; nothing is loaded into the kernel's hooks yet.
fn open(layout: &KernelLayout, rung: Rung, verbose: bool) -> Result<Ebpf, LoadError> {
    let layout = InjectedLayout(*layout);
    let without_kprobes = u32::from(rung == Rung::Tracepoint);
    // With level 0 the verifier sees that nothing is logged and removes it.
    let log_level: u8 = if verbose { aya_log::Level::Debug as u8 } else { 0 };
    let mut loader = EbpfLoader::new();
    loader
        .override_global("LAYOUT", &layout, true)
        .override_global("WITHOUT_KPROBES", &without_kprobes, true)
        .override_global(aya_log::LEVEL, &log_level, true);
    if !verbose {
        loader.map_max_entries("AYA_LOGS", 4096);
    }
    loader.load(OBJECT).map_err(|error| match &error {
        aya::EbpfError::MapError(MapError::CreateError { io_error, .. })
            if io_error.kind() == io::ErrorKind::PermissionDenied =>
        {
            LoadError::NotPermitted
        }
        _ => LoadError::Object(error),
    })
}

/// Why a rung did not hold.
#[derive(Debug, Error)]
enum RungError {
    #[error("{program}: {}", cause(.source))]
    Program { program: &'static str, source: ProgramError },
    #[error("the kernel's type information lacks {0}")]
    Layout(String),
    #[error("tracefs cannot be mounted: {0}")]
    Tracefs(io::Error),
}

impl RungError {
    fn is_forbidden(&self) -> bool {
        match self {
            Self::Program { source: ProgramError::LoadError { io_error, .. }, .. } => {
                io_error.kind() == io::ErrorKind::PermissionDenied && !rustix::process::geteuid().is_root()
            }
            _ => false,
        }
    }
}

/// An error in one line; the verifier's log goes to the debug log, it has hundreds.
fn cause(error: &ProgramError) -> String {
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return chain(error);
    };
    tracing::debug!("verifier log:\n{verifier_log}");
    format!("the kernel refused to load it: {io_error}")
}

/// An error and what it was caused by.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(cause) = at {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        at = cause.source();
    }
    text
}

const SOCKET_FIELDS: &[&str] = &[
    "sock_family",
    "sock_num",
    "sock_sport",
    "sock_dport",
    "sock_saddr",
    "sock_daddr",
    "sock_v6_saddr",
    "sock_v6_daddr",
    "sock_err",
    "sock_protocol",
];
const CALL_FIELDS: &[&str] = &[
    "task_files",
    "files_fdt",
    "fdtable_fd",
    "fdtable_max_fds",
    "file_private_data",
    "socket_file",
    "socket_sk",
    "socket_state",
];
const PACKET_FIELDS: &[&str] =
    &["skb_head", "skb_tail", "skb_len", "skb_network_header", "skb_protocol", "skb_dev", "skb_sk"];

fn require(layout: &KernelLayout, fields: &[&str]) -> Result<(), RungError> {
    let missing = missing_fields(layout, fields);
    if missing.is_empty() { Ok(()) } else { Err(RungError::Layout(missing.join(", "))) }
}

/// The state changes first: an attempt must not be seen without its outcome. Gives a remark if part of it
/// could not be had.
fn attach_connects(ebpf: &mut Ebpf, rung: Rung, layout: &KernelLayout) -> Result<Option<String>, RungError> {
    require(layout, SOCKET_FIELDS)?;
    raw_tracepoint(ebpf, "socket_state", "inet_sock_set_state")?;
    match rung {
        Rung::Kprobe => {
            kprobe(ebpf, "tcp_v4_return", "tcp_v4_connect")?;
            kprobe(ebpf, "tcp_v4_enter", "tcp_v4_connect")?;
            let v6 = kprobe(ebpf, "tcp_v6_return", "tcp_v6_connect")
                .and_then(|()| kprobe(ebpf, "tcp_v6_enter", "tcp_v6_connect"));
            Ok(v6.err().map(|error| format!("without IPv6: {error}")))
        }
        Rung::Tracepoint => {
            require(layout, CALL_FIELDS)?;
            with_tracefs(|| {
                syscall(ebpf, "connect_exit", "sys_exit_connect")?;
                syscall(ebpf, "connect_enter", "sys_enter_connect")
            })
            .map_err(RungError::Tracefs)??;
            Ok(None)
        }
    }
}

fn attach_drops(ebpf: &mut Ebpf, layout: &KernelLayout) -> Result<(), RungError> {
    require(layout, PACKET_FIELDS)?;
    raw_tracepoint(ebpf, "packet_drop", "kfree_skb")
}

/// Loads and attaches one program of type `$kind`.
macro_rules! attach {
    ($ebpf:expr, $kind:ty, $program:expr, $attach:expr) => {{
        let found = $ebpf.program_mut($program).map(<&mut $kind>::try_from);
        let attached = match found {
            None => Err(ProgramError::NotLoaded),
            Some(Err(error)) => Err(error),
            Some(Ok(program)) => program.load().and_then(|()| $attach(program)),
        };
        attached.map(drop).map_err(|source| RungError::Program { program: $program, source })
    }};
}

fn kprobe(ebpf: &mut Ebpf, program: &'static str, function: &str) -> Result<(), RungError> {
    attach!(ebpf, KProbe, program, |p: &mut KProbe| p.attach(function, 0))
}

fn raw_tracepoint(ebpf: &mut Ebpf, program: &'static str, tracepoint: &str) -> Result<(), RungError> {
    attach!(ebpf, RawTracePoint, program, |p: &mut RawTracePoint| p.attach(tracepoint))
}

fn syscall(ebpf: &mut Ebpf, program: &'static str, tracepoint: &str) -> Result<(), RungError> {
    attach!(ebpf, TracePoint, program, |p: &mut TracePoint| p.attach("syscalls", tracepoint))
}
