//! Which hook, decided by what loads and attaches, never by the kernel's version. Losing one event does not
//! lose the other.

mod attach;
mod events;
mod why;

use std::{cell::OnceCell, collections::BTreeMap, fs, io, os::fd::AsFd};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapError, PerCpuArray, ring_buf::RingBuf},
    programs::Program,
};
use aya_log::EbpfLogger;
use netspy_common::{MAX_FLOWS, MAX_INFLIGHT, MAX_SOCKETS};
use thiserror::Error;

pub(super) use self::attach::{stop_connects, unload};
use self::{
    attach::{Attacher, RungError},
    events::{Attach, BUILT_ON, CONNECTION, Event, OTHERS, PROCESS, Rung, SKIPS_SHOW_ELSEWHERE, TOLD},
};
use super::{
    btf::BtfError,
    counts::Counts,
    layout::{InjectedLayout, KernelFacts, read_kernel_facts},
    ledger::{Ledger, Skips, Watched},
    machine::Machine,
    rings::KernelSource,
};
use crate::domain::{Aspect, Check, Hook, HookState, KernelNames, Refusal};

/// The programs, built by `cargo xtask build-ebpf` and checked in.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/ebpf/netspy-",
    env!("NETSPY_EBPF_ARCH"),
    ".bpf.o"
));

/// What `--hooks` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum HooksChoice {
    /// The best that work: kprobes where the kernel has them
    #[default]
    Auto,
    /// Kprobes or nothing, for every event that can be had by kprobe
    Kprobe,
    /// No kprobes: tracepoints, and function entry (fentry) for an event that has no tracepoint
    Tracepoint,
}

impl HooksChoice {
    fn allows(self, rung: Rung, event: &Event) -> bool {
        match self {
            Self::Auto => true,
            // An event that never has kprobes is not asked for them.
            Self::Kprobe => rung == Rung::Kprobe || event.rungs.iter().all(|(rung, _)| *rung != Rung::Kprobe),
            Self::Tracepoint => rung != Rung::Kprobe,
        }
    }
}

/// Why nothing at all can be traced.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Not root, or root without capabilities.
    #[error("loading eBPF programs is {reason}; {remedy}")]
    NotPermitted {
        /// What is not permitted and why.
        reason: String,
        /// What to do.
        remedy: String,
    },
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
    #[error("nothing can be traced on this kernel: {}", notes(.0))]
    NothingAttaches(Vec<Hook>),
}

impl LoadError {
    /// What it was, and what to do about it in a sentence.
    pub fn explained(&self) -> (String, String) {
        let remedy = match self {
            Self::NotPermitted { reason, remedy } => return (reason.clone(), remedy.clone()),
            Self::Btf(_) => "use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
            Self::Object(_) | Self::Map(_) => "report it with the log of netspy-server -vv",
            Self::NothingAttaches(_) => "see each event",
        };
        (self.to_string(), remedy.to_owned())
    }
}

/// Each event and what there is to say about it; what holds for several is said once.
fn notes(hooks: &[Hook]) -> String {
    let mut by_note = BTreeMap::<String, Vec<&str>>::new();
    for hook in hooks {
        by_note.entry(hook.note()).or_default().push(hook.event);
    }
    let notes: Vec<_> =
        by_note.iter().map(|(note, events)| format!("{}: {note}", events.join(", "))).collect();
    notes.join("; ")
}

/// How to trace.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Which rungs may be used.
    pub hooks: HooksChoice,
    /// Carry the programs' own diagnostics to the log.
    pub verbose: bool,
    /// Sockets that are followed at once.
    pub max_sockets: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { hooks: HooksChoice::Auto, verbose: false, max_sockets: MAX_SOCKETS }
    }
}

/// A kernel that reports.
pub struct Loaded {
    /// Its records.
    pub source: KernelSource,
    /// What is traced, and how.
    pub hooks: Vec<Hook>,
    /// What the kernel calls its numbers.
    pub names: KernelNames,
}

impl Loaded {
    /// Whether there is anything left to tell.
    pub fn is_worth_serving(&self) -> bool {
        are_worth_serving(&self.hooks)
    }

    /// Takes an event and those that build on it back: what it reported was wrong, and how.
    pub fn disable(&mut self, event: &str, how: &str) {
        let built_on: Vec<_> =
            BUILT_ON.iter().filter(|(_, base)| *base == event).map(|(above, _)| *above).collect();
        for hook in self.hooks.iter_mut().filter(|hook| hook.event == event) {
            self.source.unload(hook.event);
            hook.disable(how.to_owned());
        }
        for above in built_on {
            self.disable(above, &format!("it builds on the event {event}: {how}"));
        }
    }
}

/// The names of all events, traced or not.
pub fn events() -> impl Iterator<Item = &'static str> {
    std::iter::once(&CONNECTION).chain(OTHERS).map(|event| event.name)
}

/// What an event tells that may be found wrong in another one.
pub fn tells(event: &str) -> &'static [Aspect] {
    TOLD.iter().find(|(name, _)| *name == event).map_or(&[], |(_, told)| told)
}

/// Loads and attaches what this kernel allows.
pub fn load(options: &Options) -> Result<Loaded, LoadError> {
    let mut ladder = Ladder::new(options)?;
    let (mut ebpf, used, kprobes) = ladder.open_with_connections()?;
    let mut programs = vec![(CONNECTION.name, used)];
    for event in OTHERS {
        let mut refused = Vec::new();
        let climbed = ladder.rungs(event).find_map(|(rung, attach)| {
            let climbed = ladder.climb(&mut ebpf, event, *attach);
            let climbed = climbed.map_err(|error| refused.push(ladder.refusal(*rung, &error)));
            climbed.ok().map(|(used, remark)| (*rung, used, remark))
        });
        let (rung, remark) = match climbed {
            Some((rung, used, remark)) => {
                programs.push((event.name, used));
                (Some(rung), remark)
            }
            None => (None, None),
        };
        ladder.hooks.push(hook(event, rung, refused, remark));
    }
    ladder.finish(ebpf, programs, kprobes)
}

/// Why no program can be loaded and attached at the entry of functions; `None` if one can. Tried in earnest, with
/// an event of which that is a rung, and taken back.
pub fn function_entry() -> Option<Refusal> {
    let options = Options::default();
    let refused = |error: LoadError| {
        let (reason, remedy) = error.explained();
        Refusal { rung: Rung::Fentry.name(), reason, remedy }
    };
    let ladder = match Ladder::new(&options) {
        Ok(ladder) => ladder,
        Err(error) => return Some(refused(error)),
    };
    let mut rungs = OTHERS.iter().flat_map(|event| event.rungs);
    let (rung, attach) = rungs.find(|(rung, _)| *rung == Rung::Fentry)?;
    let mut ebpf = match ladder.open(*rung) {
        Ok(ebpf) => ebpf,
        Err(error) => return Some(refused(error)),
    };
    let mut attacher = Attacher::new(&mut ebpf, &ladder.facts.layout, &ladder.types);
    let attached = attach(&mut attacher);
    attacher.undo();
    attached.err().map(|error| ladder.refusal(*rung, &error))
}

/// What climbing needs to know.
struct Ladder<'a> {
    options: &'a Options,
    machine: Machine,
    facts: KernelFacts,
    /// The kernel's types as aya reads them, once they were needed.
    types: OnceCell<Result<Btf, String>>,
    hooks: Vec<Hook>,
}

/// Programs of an event that were attached, and a remark on them.
type Climbed = (Vec<&'static str>, Option<String>);

impl<'a> Ladder<'a> {
    fn new(options: &'a Options) -> Result<Self, LoadError> {
        let machine = Machine::read();
        if let Some((reason, remedy)) = why::forbidden(&machine) {
            return Err(LoadError::NotPermitted { reason, remedy });
        }
        let facts = read_kernel_facts()?;
        // Kernels before 5.11 charge maps to this limit; where it cannot be raised, loading says so.
        let limit = rustix::process::Rlimit { current: None, maximum: None };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Memlock, limit);
        Ok(Self { options, machine, facts, types: OnceCell::new(), hooks: Vec::new() })
    }

    fn rungs(&self, event: &'static Event) -> impl Iterator<Item = &'static (Rung, Attach)> + use<> {
        let choice = self.options.hooks;
        event.rungs.iter().filter(move |(rung, _)| choice.allows(*rung, event))
    }

    fn refusal(&self, rung: Rung, error: &RungError) -> Refusal {
        why::refusal(rung, error, &self.machine, is_listed)
    }

    /// Each rung has its own object: the programs are built for it. Without any, the object for the others.
    /// Says which programs are attached, and whether they are on the rung of kprobes.
    fn open_with_connections(&mut self) -> Result<(Ebpf, Vec<&'static str>, bool), LoadError> {
        let mut refused = Vec::new();
        for (rung, attach) in self.rungs(&CONNECTION) {
            let mut ebpf = self.open(*rung)?;
            match self.climb(&mut ebpf, &CONNECTION, *attach) {
                Ok((used, remark)) => {
                    self.hooks.push(hook(&CONNECTION, Some(*rung), refused, remark));
                    return Ok((ebpf, used, *rung == Rung::Kprobe));
                }
                Err(error) => refused.push(self.refusal(*rung, &error)),
            }
        }
        self.hooks.push(hook(&CONNECTION, None, refused, None));
        Ok((self.open(Rung::Tracepoint)?, Vec::new(), false))
    }

    /// Attaches all programs of an event or none.
    fn climb(&self, ebpf: &mut Ebpf, event: &Event, attach: Attach) -> Result<Climbed, RungError> {
        let untraced = |name: &str| {
            self.hooks.iter().any(|hook| hook.event == name && hook.state == HookState::Unavailable)
        };
        if let Some((_, base)) = BUILT_ON.iter().find(|(above, base)| *above == event.name && untraced(base))
        {
            return Err(RungError::BuiltOn(base));
        }
        let mut attacher = Attacher::new(ebpf, &self.facts.layout, &self.types);
        attacher.require(event.needs)?;
        let remark = attach(&mut attacher).inspect_err(|_| attacher.undo())?;
        Ok((attacher.into_used(), remark))
    }

    /// Parses the object and creates its maps; nothing is loaded into the kernel's hooks yet.
    fn open(&self, rung: Rung) -> Result<Ebpf, LoadError> {
        let Options { verbose, max_sockets, .. } = *self.options;
        let layout = InjectedLayout(self.facts.layout);
        let without_kprobes = u32::from(rung == Rung::Tracepoint);
        let typed_task = u32::from(self.facts.types_current_task);
        let cookies = u32::from(self.facts.gives_cookies);
        // With level 0 the verifier sees that nothing is logged and removes it.
        let log_level: u8 = if verbose { aya_log::Level::Debug as u8 } else { 0 };
        let mut loader = EbpfLoader::new();
        loader
            .override_global("LAYOUT", &layout, true)
            .override_global("WITHOUT_KPROBES", &without_kprobes, true)
            .override_global("TYPED_TASK", &typed_task, true)
            .override_global("COOKIES", &cookies, true)
            .override_global(aya_log::LEVEL, &log_level, true)
            .map_max_entries("SOCKETS", max_sockets)
            .map_max_entries("UNIX_SOCKETS", max_sockets)
            .map_max_entries("FLOWS", max_sockets.min(MAX_FLOWS))
            .map_max_entries("INFLIGHT", max_sockets.min(MAX_INFLIGHT));
        if !verbose {
            loader.map_max_entries("AYA_LOGS", 4096);
        }
        loader.load(OBJECT).map_err(|error| match &error {
            aya::EbpfError::MapError(MapError::CreateError { io_error, .. })
                if io_error.kind() == io::ErrorKind::PermissionDenied =>
            {
                let limit =
                    self.machine.memlock.map_or("unlimited".to_owned(), |bytes| format!("{bytes} bytes"));
                LoadError::NotPermitted {
                    reason: format!("not permitted: the kernel allows {limit} of locked memory (ulimit -l)"),
                    remedy: "give the server CAP_SYS_RESOURCE, or raise the limit (LimitMEMLOCK=infinity)"
                        .to_owned(),
                }
            }
            _ => LoadError::Object(error),
        })
    }

    /// Opens the rings.
    fn finish(
        mut self,
        mut ebpf: Ebpf,
        programs: Vec<(&'static str, Vec<&'static str>)>,
        kprobes: bool,
    ) -> Result<Loaded, LoadError> {
        if !are_worth_serving(&self.hooks) {
            return Err(LoadError::NothingAttaches(self.hooks));
        }
        let watched = self.watched(&ebpf, &programs);
        if self.facts.names.drop_reasons.is_empty() {
            self.remark("packet_drop", "this kernel gives no drop reasons (they came with 5.17)");
        }
        if self.facts.names.reset_reasons.is_empty() {
            self.remark("reset_sent", "this kernel gives no reasons (they came with 6.10)");
        }
        let logger = self.options.verbose.then(|| EbpfLogger::init(&mut ebpf)).and_then(|logger| {
            logger.inspect_err(|error| tracing::warn!(%error, "the programs' own log cannot be read")).ok()
        });
        let events = RingBuf::try_from(taken(&mut ebpf, "EVENTS")?)?;
        let drops = RingBuf::try_from(taken(&mut ebpf, "DROPS")?)?;
        let counters = PerCpuArray::try_from(taken(&mut ebpf, "LOSS")?)?;
        let calls = kprobes.then(|| taken(&mut ebpf, "INFLIGHT")).transpose()?;
        let calls = calls.map(HashMap::try_from).transpose()?;
        let reader = Array::try_from(taken(&mut ebpf, "READER")?)?;
        let counts = Counts::new(
            HashMap::try_from(taken(&mut ebpf, "COUNTS")?)?,
            PerCpuArray::try_from(taken(&mut ebpf, "COUNTED")?)?,
            Array::try_from(taken(&mut ebpf, "GENERATION")?)?,
        );
        let flows = HashMap::try_from(taken(&mut ebpf, "FLOWS")?)?;
        let ledger = Ledger::new(counters, watched, calls);
        let source = KernelSource::new(ebpf, programs, events, drops, counts, ledger, reader, flows, logger);
        Ok(Loaded { source: source.map_err(MapError::from)?, hooks: self.hooks, names: self.facts.names })
    }

    /// The programs whose skipped runs are to be counted; remarks on events of which the kernel does not count them.
    fn watched(&mut self, ebpf: &Ebpf, programs: &[(&'static str, Vec<&'static str>)]) -> Vec<Watched> {
        let mut watched: Vec<Watched> = Vec::new();
        let names = programs.iter().flat_map(|(event, used)| used.iter().map(move |name| (*event, *name)));
        for (event, name) in names.filter(|(_, name)| !SKIPS_SHOW_ELSEWHERE.contains(name)) {
            let Some(program) = ebpf.program(name) else { continue };
            let probe = matches!(program, Program::KProbe(_) | Program::TracePoint(_));
            let skips = program.fd().ok().and_then(|fd| Skips::of(fd.as_fd()).ok());
            let counted = skips.and_then(|skips| Some((skips.read()?, skips)));
            let known = watched.iter_mut().find(|known| known.name == name);
            let (runs, version) = match (counted, known) {
                (Some(_), _) if probe && !self.facts.counts_skipped_probes => ("the probes' runs", "6.7"),
                (Some(_), Some(known)) => {
                    known.events.push(event);
                    continue;
                }
                (Some((counted, skips)), None) => {
                    watched.push(Watched { name, events: vec![event], skips, counted });
                    continue;
                }
                (None, _) => ("the programs' runs", "5.12"),
            };
            self.remark(
                event,
                &format!("this kernel does not count {runs} that it skips (it came with {version})"),
            );
        }
        watched
    }

    fn remark(&mut self, event: &str, remark: &str) {
        for hook in self.hooks.iter_mut().filter(|hook| hook.event == event) {
            if hook.state == HookState::Active && !hook.remarks.iter().any(|known| known == remark) {
                hook.remarks.push(remark.to_owned());
            }
        }
    }
}

/// Names of processes alone are nothing to serve.
fn are_worth_serving(hooks: &[Hook]) -> bool {
    hooks.iter().any(|hook| hook.state != HookState::Unavailable && hook.event != PROCESS)
}

fn hook(event: &Event, found: Option<Rung>, refused: Vec<Refusal>, remark: Option<String>) -> Hook {
    let (rung, state) =
        found.map_or(("none", HookState::Unavailable), |rung| (rung.name(), HookState::Active));
    let remarks = remark.into_iter().collect();
    Hook { event: event.name, rung, state, refused, remarks, check: Check::None }
}

/// Whether the kernel lists a function of this name among its symbols.
fn is_listed(function: &str) -> bool {
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    symbols.lines().any(|line| line.split_whitespace().nth(2) == Some(function))
}

fn taken(ebpf: &mut Ebpf, name: &str) -> Result<aya::maps::Map, MapError> {
    ebpf.take_map(name).ok_or_else(|| MapError::InvalidName { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::LossKind;

    #[test]
    fn what_is_lost_of_an_event_has_a_kind() {
        for event in events() {
            assert!(LossKind::from_name(event).is_some(), "{event}");
        }
    }

    #[test]
    fn an_event_builds_on_one_that_is_attached_before_it() {
        let all: Vec<_> = events().collect();
        let at = |name: &str| all.iter().position(|event| *event == name).unwrap();
        for (above, base) in BUILT_ON {
            assert!(at(base) < at(above));
        }
    }
}
