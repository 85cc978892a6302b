//! `bench`: what netspy costs. Numbers of one run can be compared with each other, and with nothing else.

mod history;
pub(crate) mod kernel;

use anyhow::Result;

/// What is measured.
#[derive(clap::Subcommand)]
pub(crate) enum Subject {
    /// Rate, size and answers of the history
    Server(history::Arguments),
    /// Cost and loss of tracing, against other tools
    Kernel(kernel::Arguments),
}

/// Measures it.
pub(crate) fn job(subject: &Subject) -> Result<()> {
    match subject {
        Subject::Server(arguments) => history::job(arguments),
        Subject::Kernel(arguments) => kernel::job(arguments),
    }
}
