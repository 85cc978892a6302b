//! Loading and attaching single programs, and why that fails.

use std::{cell::OnceCell, io};

use aya::{
    Btf, Ebpf,
    maps::{Array, MapError},
    programs::{BtfTracePoint, FEntry, FExit, KProbe, Program, ProgramError, RawTracePoint, TracePoint},
};
use netspy_common::{KernelLayout, subject};
use thiserror::Error;

use super::{
    super::{layout::missing_fields, tracefs::with_tracefs},
    why,
};

/// Why a rung did not hold.
#[derive(Debug, Error)]
pub(super) enum RungError {
    /// A program could not be loaded or attached to `target`, a function or tracepoint.
    #[error("{program} at {target}: {source}")]
    Program { program: &'static str, target: String, source: ProgramError },
    /// Fields that the kernel does not have.
    #[error("the kernel's type information lacks {0}")]
    Layout(String),
    /// Needed for system calls' tracepoints.
    #[error("tracefs cannot be mounted: {0}")]
    Tracefs(io::Error),
    /// Needed for function entry, and for tracepoints with types.
    #[error("the kernel's types cannot be read: {0}")]
    Types(String),
    /// The map that says which events are served.
    #[error("a map cannot be written: {0}")]
    Map(#[from] MapError),
    /// What it builds on is not there.
    #[error("it needs the event {0}, which is not traced")]
    BuiltOn(&'static str),
}

/// Loads and attaches one program of type `$kind`.
macro_rules! attach {
    ($self:expr, $kind:ty, $program:expr, $target:expr, $load:expr, $attach:expr) => {{
        let found = $self.ebpf.program_mut($program).map(<&mut $kind>::try_from);
        let attached = match found {
            None => Err(ProgramError::NotLoaded),
            Some(Err(error)) => Err(error),
            Some(Ok(program)) => match $load(&mut *program) {
                // One program may serve two hooks.
                Ok(()) | Err(ProgramError::AlreadyLoaded) => $attach(program),
                Err(error) => Err(error),
            },
        };
        $self.used.push($program);
        let target = || $target.to_owned();
        attached.map(drop).map_err(|source| RungError::Program {
            program: $program,
            target: target(),
            source,
        })
    }};
}

/// An object whose programs are attached one by one.
pub(super) struct Attacher<'a> {
    pub(super) ebpf: &'a mut Ebpf,
    pub(super) layout: &'a KernelLayout,
    types: &'a OnceCell<Result<Btf, String>>,
    used: Vec<&'static str>,
}

impl<'a> Attacher<'a> {
    /// `types`: the kernel's as aya reads them, once they were needed.
    pub(super) fn new(
        ebpf: &'a mut Ebpf,
        layout: &'a KernelLayout,
        types: &'a OnceCell<Result<Btf, String>>,
    ) -> Self {
        Self { ebpf, layout, types, used: Vec::new() }
    }

    /// Fails unless the kernel has these fields.
    pub(super) fn require(&self, fields: &[&str]) -> Result<(), RungError> {
        let missing = missing_fields(self.layout, fields);
        if missing.is_empty() { Ok(()) } else { Err(RungError::Layout(missing.join(", "))) }
    }

    pub(super) fn kprobe(&mut self, program: &'static str, function: &str) -> Result<(), RungError> {
        attach!(self, KProbe, program, function, KProbe::load, |p: &mut KProbe| p.attach(function, 0))
    }

    pub(super) fn fentry(&mut self, program: &'static str, function: &str) -> Result<(), RungError> {
        let types = self.types()?;
        attach!(
            self,
            FEntry,
            program,
            function,
            |p: &mut FEntry| p.load(function, types),
            |p: &mut FEntry| p.attach()
        )
    }

    pub(super) fn fexit(&mut self, program: &'static str, function: &str) -> Result<(), RungError> {
        let types = self.types()?;
        attach!(self, FExit, program, function, |p: &mut FExit| p.load(function, types), |p: &mut FExit| p
            .attach())
    }

    /// The kernel's types as aya reads them.
    fn types(&self) -> Result<&'a Btf, RungError> {
        let types = self.types.get_or_init(|| Btf::from_sys_fs().map_err(|error| why::chain(&error)));
        types.as_ref().map_err(|error| RungError::Types(error.clone()))
    }

    pub(super) fn raw_tracepoint(
        &mut self,
        program: &'static str,
        tracepoint: &str,
    ) -> Result<(), RungError> {
        attach!(self, RawTracePoint, program, tracepoint, RawTracePoint::load, |p: &mut RawTracePoint| p
            .attach(tracepoint))
    }

    /// A tracepoint whose arguments the verifier knows the types of.
    pub(super) fn typed_tracepoint(
        &mut self,
        program: &'static str,
        tracepoint: &str,
    ) -> Result<(), RungError> {
        let types = self.types()?;
        attach!(
            self,
            BtfTracePoint,
            program,
            tracepoint,
            |p: &mut BtfTracePoint| p.load(tracepoint, types),
            |p: &mut BtfTracePoint| p.attach()
        )
    }

    /// Tracepoints of system calls, each a program and the tracepoint's name.
    pub(super) fn syscalls(&mut self, programs: &[(&'static str, &str)]) -> Result<(), RungError> {
        with_tracefs(|| {
            programs.iter().try_for_each(|(program, tracepoint)| {
                attach!(self, TracePoint, *program, *tracepoint, TracePoint::load, |p: &mut TracePoint| p
                    .attach("syscalls", tracepoint))
            })
        })
        .map_err(RungError::Tracefs)?
    }

    /// The programs of the connect system call, which serve several events, for this one.
    pub(super) fn connect_calls(&mut self, event: &'static str) -> Result<(), RungError> {
        let exit = if self.require(&["registers_first", "registers_second"]).is_ok() {
            "connect_exit"
        } else {
            "connect_exit_noted"
        };
        let programs = [(exit, "sys_exit_connect"), ("connect_enter", "sys_enter_connect")];
        if serve_connects(self.ebpf, |served| served)? == 0 {
            self.syscalls(&programs)?;
        } else {
            self.used.extend(programs.map(|(program, _)| program));
        }
        serve_connects(self.ebpf, |served| served | connects_of(event))?;
        Ok(())
    }

    /// The programs that it attached.
    pub(super) fn into_used(mut self) -> Vec<&'static str> {
        self.used.dedup(); // one program may serve several system calls
        self.used
    }

    /// Takes back what was attached through this attacher: half an event is none.
    pub(super) fn undo(&mut self) {
        for program in self.used.drain(..) {
            unload(self.ebpf, program);
        }
    }
}

/// The programs of the connect system call serve this event no longer.
pub(in super::super) fn stop_connects(ebpf: &mut Ebpf, event: &str) -> Result<(), MapError> {
    serve_connects(ebpf, |served| served & !connects_of(event)).map(drop)
}

/// The bit of an event in the map `CONNECTS`, if its rung may be the connect system call.
fn connects_of(event: &str) -> u32 {
    match event {
        "connection" => 1 << subject::CONNECTION,
        "unix" => 1 << subject::UNIX,
        "udp" => 1 << subject::UDP,
        _ => 0,
    }
}

/// Changes which events the programs of the connect system call serve, and says which they serve now.
fn serve_connects(ebpf: &mut Ebpf, change: impl FnOnce(u32) -> u32) -> Result<u32, MapError> {
    let map =
        ebpf.map_mut("CONNECTS").ok_or_else(|| MapError::InvalidName { name: "CONNECTS".to_owned() })?;
    let mut connects = Array::try_from(map)?;
    let served = change(connects.get(&0, 0)?);
    connects.set(0, served, 0)?;
    Ok(served)
}

/// Detaches and unloads a program; one that was never loaded stays as it is.
pub(in super::super) fn unload(ebpf: &mut Ebpf, program: &str) {
    let _ = match ebpf.program_mut(program) {
        Some(Program::KProbe(program)) => program.unload(),
        Some(Program::FEntry(program)) => program.unload(),
        Some(Program::RawTracePoint(program)) => program.unload(),
        Some(Program::BtfTracePoint(program)) => program.unload(),
        Some(Program::TracePoint(program)) => program.unload(),
        _ => Ok(()),
    };
}
