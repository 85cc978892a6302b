//! The two programs, optimised and linked statically with musl: its resolver works without a library of the system's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::fresh;
use crate::packages::{self, Package};
use crate::vm::apt::{self, PrivateApt, RELEASE};
use crate::vm::architecture::Architecture;
use crate::{command, workspace};

/// What people run.
pub(super) const PROGRAMS: [&str; 2] = ["netspy", "netspy-server"];

/// Where the image's build looks for the programs of an architecture: Docker calls those as Debian does.
fn place(out: &Path, architecture: Architecture) -> PathBuf {
    out.join("bin").join(architecture.debian())
}

/// Builds both; the directory that they are in.
pub(super) fn build(root: &Path, out: &Path, architecture: Architecture) -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-musl", architecture.name());
    if workspace::find_program(root, "rustup").is_some() {
        command::run(Command::new("rustup").args(["--quiet", "target", "add", &target]).current_dir(root))?;
    }
    let build = out.join("build");
    let mut cargo = command::cargo(root);
    compile_c(root, architecture, &target, &mut cargo)?;
    cargo.args(["build", "--release", "--locked", "--target", &target, "--bins", "--target-dir"]).arg(&build);
    cargo.args(["--package", "netspy-server", "--package", "netspy-cli"]);
    command::run(&mut cargo)?;
    given(out, architecture, &build.join(target).join("release"))
}

/// Copies programs that are there; the directory that they are in now.
pub(super) fn given(out: &Path, architecture: Architecture, directory: &Path) -> Result<PathBuf> {
    let programs = fresh(&place(out, architecture))?;
    for name in PROGRAMS {
        let from = directory.join(name);
        fs::copy(&from, programs.join(name)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(programs)
}

/// Tells cargo how C (`SQLite`, cryptography) is compiled, and what links.
fn compile_c(root: &Path, architecture: Architecture, target: &str, cargo: &mut Command) -> Result<()> {
    match architecture {
        Architecture::X86_64 => {
            packages::ensure(root, &[Package { debian: "musl-tools", provides: "musl-gcc" }])
        }
        Architecture::Aarch64 => {
            let compiler = "aarch64-linux-gnu-gcc";
            packages::ensure(root, &[Package { debian: "gcc-aarch64-linux-gnu", provides: compiler }])?;
            let headers = headers(root, architecture)?;
            let underscored = target.replace('-', "_");
            cargo.env(format!("CARGO_TARGET_{}_LINKER", underscored.to_uppercase()), compiler);
            cargo.env(format!("CC_{underscored}"), compiler);
            // The compiler's own headers are right for any library, glibc's are not.
            let own = command::text(Command::new(compiler).arg("-print-file-name=include"))?;
            let flags = format!("-nostdinc -isystem {} -isystem {}", headers.display(), own.trim());
            cargo.env(format!("CFLAGS_{underscored}"), flags);
            Ok(())
        }
    }
}

/// musl's headers for a processor that this machine does not have, from Debian's package.
fn headers(root: &Path, architecture: Architecture) -> Result<PathBuf> {
    let directory = architecture.directory(root).join("musl");
    apt::directory_once(&directory, |partial| {
        println!("{}: fetching musl's headers", architecture.name());
        PrivateApt::new(root, architecture)?.unpack(&[&format!("musl-dev/{RELEASE}")], partial)
    })?;
    Ok(directory.join(format!("usr/include/{}-linux-musl", architecture.name())))
}
