//! The server's own log, on standard error.

use std::io::{IsTerminal, stderr};

use tracing::level_filters::LevelFilter;

/// Starts it: `verbose` is how often `-v` was given.
pub fn start(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // aya-log writes through the `log` crate.
    let _ = tracing_log::LogTracer::init();
    let subscriber =
        tracing_subscriber::fmt().with_writer(stderr).with_ansi(stderr().is_terminal()).with_max_level(level);
    let _ = tracing::subscriber::set_global_default(subscriber.with_target(verbose > 0).finish());
}
