//! netspy's server: it loads the eBPF programs, decodes what they report, keeps history and serves it.
//!
//! `domain ← decode, track ← pipeline ← app`; `source/`, `store/`, `http/` and `enrich/` depend on `domain`
//! and never on each other; only `app` names concrete types.

// pub mod app;
pub mod cli;
mod decode;
pub mod domain;
mod enrich;
pub mod http;
pub mod logging;
mod pipeline;
mod source;
pub mod store;
mod track;
