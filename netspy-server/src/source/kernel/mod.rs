//! The running kernel: the only place that knows aya, BTF and the programs' maps, and the only one with
//! `unsafe`.

mod btf;
mod counts;
mod flows;
mod ladder;
mod layout;
mod ledger;
mod machine;
mod names;
mod rings;
mod tracefs;

pub use ladder::{HooksChoice, LoadError, Loaded, Options, events, function_entry, load, tells};
pub use machine::{Capabilities, Machine};
pub use rings::KernelSource;
