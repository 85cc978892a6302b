//! netspy's server: it loads the eBPF programs, decodes what they report, keeps history and serves it.
//!
//! `domain ← decode, track ← pipeline ← app` and `decode ← canary ← start ← app`; `source/`, `store/`, `http/` and `enrich/` depend on `domain`
//! and never on each other; only `app` names concrete types. `access/` decides who may ask `http/`.

pub mod access;
pub mod app;
pub mod canary;
pub mod cli;
pub mod config;
pub mod decode;
pub mod doctor;
pub mod domain;
pub mod enrich;
pub mod feed;
pub mod http;
pub mod logging;
pub mod names;
pub mod pipeline;
pub mod privileges;
pub mod source;
pub mod start;
pub mod store;
pub mod systemd;
pub mod track;
