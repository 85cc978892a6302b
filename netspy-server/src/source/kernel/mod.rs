//! The running kernel: the only place that knows aya, BTF and the programs' maps, and the only one with
//! `unsafe`.

mod btf;
mod ladder;
mod layout;
mod rings;
mod tracefs;

pub use ladder::{HooksChoice, load};
