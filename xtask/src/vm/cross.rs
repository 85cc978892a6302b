//! A Rust toolchain for a processor that this machine does not have: Debian's compiler, Debian's standard library for
//! that architecture unpacked beside it, and Debian's cross-linker. Nothing of it comes from rustup.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::apt::{self, PrivateApt};
use super::architecture::Architecture;
use crate::command;
use crate::packages::{self, DEBIAN_CARGO, DEBIAN_RUSTC};

/// Debian's package of the standard library, for any architecture.
const STD: &str = "libstd-rust-web-dev";
/// The file in the sysroot that says which version of it that is.
const VERSION: &str = "version";

/// A cargo for the target; what its compiler must be told is added to `flags`.
pub(super) fn cargo(root: &Path, architecture: Architecture, flags: &mut Vec<String>) -> Result<Command> {
    packages::ensure(root, &[DEBIAN_RUSTC, DEBIAN_CARGO])?;
    flags.push(format!("--sysroot={}", sysroot(root, architecture)?.display()));
    let mut cargo = command::this_cargo(DEBIAN_CARGO.provides, root);
    cargo.env("RUSTC", DEBIAN_RUSTC.provides).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    cargo.env(linker_variable(architecture), format!("{}-linux-gnu-gcc", architecture.name()));
    Ok(cargo)
}

/// cargo's variable for the linker of a target.
fn linker_variable(architecture: Architecture) -> String {
    format!("CARGO_TARGET_{}_LINKER", architecture.target().replace('-', "_").to_uppercase())
}

/// The standard library in the version of the installed compiler: no other one fits.
fn sysroot(root: &Path, architecture: Architecture) -> Result<PathBuf> {
    let mut query = Command::new("dpkg-query");
    let version = command::text(query.args(["--show", "--showformat=${Version}", DEBIAN_RUSTC.debian]))?;
    let directory = architecture.directory(root).join("sysroot");
    if fs::read_to_string(directory.join(VERSION)).is_ok_and(|unpacked| unpacked != version) {
        fs::remove_dir_all(&directory)?;
    }
    apt::directory_once(&directory, |partial| {
        println!("{}: fetching {STD} {version}", architecture.name());
        PrivateApt::new(root, architecture)?.unpack(&[&format!("{STD}={version}")], partial)?;
        // A compiler looks for lib/rustlib below its sysroot.
        fs::rename(partial.join("usr/lib"), partial.join("lib"))?;
        Ok(fs::write(partial.join(VERSION), &version)?)
    })?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_told_the_linker_of_the_target_alone() {
        assert_eq!(linker_variable(Architecture::Aarch64), "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER");
    }
}
