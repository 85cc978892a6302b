//! The server's own log, on standard error: for people, or for journald, which knows time and unit itself.

use std::{
    env, fmt,
    io::{IsTerminal, stderr},
};

use tracing::{Event, Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer},
    },
    registry::LookupSpan,
};

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
    let _ = if is_journal() {
        let format = Format::default().with_target(verbose > 0).with_level(false).without_time();
        tracing::subscriber::set_global_default(subscriber.event_format(Journal(format)).finish())
    } else {
        tracing::subscriber::set_global_default(subscriber.with_target(verbose > 0).finish())
    };
}

/// Whether journald reads standard error: `JOURNAL_STREAM` is its device and inode (systemd.exec(5)); a program
/// started by a service with another standard error inherits the variable, too.
fn is_journal() -> bool {
    let told = env::var("JOURNAL_STREAM").ok();
    let ours = rustix::fs::fstat(stderr()).ok().map(|stat| format!("{}:{}", stat.st_dev, stat.st_ino));
    told.is_some() && told == ours
}

/// Lines that begin with their priority, `<6>` (sd-daemon(3)).
struct Journal(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str(match *event.metadata().level() {
            Level::ERROR => "<3>",
            Level::WARN => "<4>",
            Level::INFO => "<6>",
            Level::DEBUG | Level::TRACE => "<7>",
        })?;
        self.0.format_event(ctx, writer, event)
    }
}
