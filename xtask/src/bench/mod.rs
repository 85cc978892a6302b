//! `bench`: what netspy costs. Numbers of one run can be compared with each other, and with nothing else.

mod history;
pub(crate) mod kernel;
mod server;

use anyhow::Result;

/// What is measured.
#[derive(clap::Subcommand)]
pub(crate) enum Subject {
    /// Rate, size and answers of the history
    Server(server::Arguments),
    /// The history against the same in Parquet segments, read by `DataFusion`
    History(history::Arguments),
    /// Cost and loss of tracing, against other tools
    Kernel(kernel::Arguments),
}

/// Measures it.
pub(crate) fn job(subject: &Subject) -> Result<()> {
    match subject {
        Subject::Server(arguments) => server::job(arguments),
        Subject::History(arguments) => history::job(arguments),
        Subject::Kernel(arguments) => kernel::job(arguments),
    }
}
