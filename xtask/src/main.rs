//! Developer and release jobs of netspy: `cargo xtask --help` lists them, one module each.
//!
//! This file owns the command line only. Nothing here runs in the shipped programs.

// A job runner talks to the person at the terminal: stdout is its interface.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod build_ebpf;
mod command;
mod demo;
mod dist;
mod packages;
mod run;
mod suites;
mod test;
mod tidy;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

/// Every developer and release job of netspy.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Job {
    /// Build the eBPF programs into the checked-in object
    BuildEbpf(build_ebpf::Arguments),
    /// Run the scenario tests inside real Debian kernels
    Vm(vm::Arguments),
    /// Build, start the server as root, open the client, stop the server when the client ends
    Run(run::Arguments),
    /// Measure what netspy costs
    #[command(subcommand)]
    Bench(bench::Subject),
    /// Make what is given to people: static programs, a Debian package, man pages, completions
    Dist(dist::Arguments),
    /// Make the recording that ships with the repository again
    RecordDemo,
    /// Run other people's suites against netspy: schemathesis, MCP conformance, Inspector, Python client
    Suites,
    /// Everything that must pass: installs what is missing, then runs every check and test
    #[command(visible_alias = "ci")]
    Test,
    /// The load that `bench kernel` measures with, on orders from stdin
    #[command(hide = true)]
    Load(bench::kernel::load::Arguments),
    /// Check the rules that no other tool checks: dependency direction, file headers, leftovers
    Tidy,
}

fn main() -> ExitCode {
    // cargo runs this very program in front of each compiler of an eBPF build (see `build_ebpf::wrapper`).
    if build_ebpf::wrapper::requested() {
        return build_ebpf::wrapper::run();
    }
    let done = match Job::parse() {
        Job::BuildEbpf(arguments) => build_ebpf::job(&arguments),
        Job::Vm(arguments) => vm::job(&arguments),
        Job::Run(arguments) => return run::job(&arguments).unwrap_or_else(|error| failure(&error)),
        Job::Bench(subject) => bench::job(&subject),
        Job::Dist(arguments) => dist::job(&arguments),
        Job::RecordDemo => demo::job(),
        Job::Suites => suites::job(),
        Job::Test => test::job(),
        Job::Load(arguments) => bench::kernel::load::job(&arguments),
        Job::Tidy => tidy::job(),
    };
    done.map_or_else(|error| failure(&error), |()| ExitCode::SUCCESS)
}

fn failure(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
