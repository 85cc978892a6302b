//! `dist`: what is given to people. Static programs, a Debian package, man pages and completions, all below
//! `target/dist`; `--prove` installs, upgrades and purges the package in a Debian of its own.

mod deb;
mod prove;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{command, packages, workspace};

/// Statically linked by nature, its resolver included.
const TARGET: &str = "x86_64-unknown-linux-musl";
const PROGRAMS: [&str; 2] = ["netspy", "netspy-server"];

/// Options of `dist`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Package the two programs of this directory instead of building them
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Also install, run, upgrade and purge the package in a Debian made for it (as root, with the network)
    #[arg(long)]
    prove: bool,
}

/// What the package is made of.
struct Made {
    /// Directory of the programs.
    programs: PathBuf,
    /// Directory of the man pages and completions.
    reference: PathBuf,
}

/// Makes everything.
pub(crate) fn job(arguments: &Arguments) -> Result<()> {
    let root = workspace::root()?;
    packages::ensure(&root, PACKAGES)?;
    if arguments.programs.is_none() {
        packages::ensure(&root, &[packages::Package { debian: "musl-tools", provides: "musl-gcc" }])?;
    }
    let out = workspace::target(&root).join("dist");
    let programs = match &arguments.programs {
        Some(directory) => directory.clone(),
        None => programs(&root, &out)?,
    };
    let made = Made { programs, reference: reference(&root, &out)? };
    let package = deb::build(&root, &out, &made, env!("CARGO_PKG_VERSION"))?;
    println!("{}", package.display());
    if arguments.prove {
        let newer = deb::build(&root, &out, &made, concat!(env!("CARGO_PKG_VERSION"), "+next"))?;
        prove::job(&root, &out, &package, &newer)?;
    }
    Ok(())
}

const PACKAGES: &[packages::Package] = &[
    packages::Package { debian: "dpkg", provides: "dpkg-deb" },
    packages::Package { debian: "gzip", provides: "gzip" },
];

/// Builds both programs, optimised and static; the directory that they are in.
fn programs(root: &Path, out: &Path) -> Result<PathBuf> {
    if workspace::find_program(root, "rustup").is_some() {
        command::run(Command::new("rustup").args(["--quiet", "target", "add", TARGET]).current_dir(root))?;
    }
    let build = out.join("build");
    let mut cargo = command::cargo(root);
    cargo.args(["build", "--release", "--locked", "--target", TARGET, "--bins", "--target-dir"]).arg(&build);
    cargo.args(["--package", "netspy-server", "--package", "netspy-cli"]);
    command::run(&mut cargo)?;
    let programs = fresh(&out.join("bin"))?;
    for name in PROGRAMS {
        let from = build.join(TARGET).join("release").join(name);
        fs::copy(&from, programs.join(name)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(programs)
}

/// Lets both programs describe themselves; the directory of the pages and completions.
fn reference(root: &Path, out: &Path) -> Result<PathBuf> {
    let directory = fresh(&out.join("reference"))?;
    for (package, example) in [("netspy-server", "server_reference"), ("netspy-cli", "client_reference")] {
        let mut cargo = command::cargo(root);
        cargo.args(["run", "--quiet", "--locked", "--package", package, "--example", example, "--"]);
        command::run(cargo.arg(&directory))?;
    }
    Ok(directory)
}

/// The directory, empty.
fn fresh(directory: &Path) -> Result<PathBuf> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory.to_owned())
}
