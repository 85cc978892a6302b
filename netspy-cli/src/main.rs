//! `netspy`: the program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    netspy_cli::run(std::env::args_os())
}
