//! What a job needs from outside: Debian packages and cargo tools, installed when they are missing.
//!
//! As root on a system with apt the packages are installed; anybody else is told the exact command.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{command, workspace};

/// A program, and the Debian package that brings it.
pub(crate) struct Package {
    /// Name for apt.
    pub(crate) debian: &'static str,
    /// Its presence: a program's name, or an absolute path for what is not on `PATH`.
    pub(crate) provides: &'static str,
}

/// A developer tool from crates.io, pinned so that every machine runs the same one.
pub(crate) struct Tool {
    /// Name of the crate, and of the program.
    pub(crate) name: &'static str,
    /// Version to install.
    pub(crate) version: &'static str,
    /// Further arguments of `cargo install`.
    pub(crate) arguments: &'static [&'static str],
    /// Environment of its build.
    pub(crate) environment: &'static [(&'static str, &'static str)],
}

/// Debian's Rust compiler, beside rustup's: Debian also has its libraries for targets that we need.
pub(crate) const DEBIAN_RUSTC: Package = Package { debian: "rustc-web", provides: "/usr/bin/rustc" };
/// The cargo that goes with it.
pub(crate) const DEBIAN_CARGO: Package = Package { debian: "cargo-web", provides: "/usr/bin/cargo" };

/// Makes sure that every package is there.
///
/// # Errors
/// Names the missing packages and the command that installs them.
pub(crate) fn ensure(root: &Path, packages: &[Package]) -> Result<()> {
    let missing: Vec<&str> =
        packages.iter().filter(|package| !is_present(root, package)).map(|package| package.debian).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    if !is_root()? || workspace::find_program(root, "apt-get").is_none() {
        bail!(
            "missing: {}\nInstall them and try again:\n    sudo apt-get update\n    sudo {install}",
            missing.join(", ")
        );
    }
    println!("installing {}", missing.join(", "));
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], missing.as_slice()].concat())
}

fn is_present(root: &Path, package: &Package) -> bool {
    if package.provides.starts_with('/') {
        Path::new(package.provides).exists()
    } else {
        workspace::find_program(root, package.provides).is_some()
    }
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut apt = Command::new("apt-get");
    command::run(apt.arg("--quiet=2").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Whether this process is root.
///
/// # Errors
/// When `id` cannot be run.
pub(crate) fn is_root() -> Result<bool> {
    // std has no way to ask, and a library for one number is not worth its compile time.
    Ok(command::text(Command::new("id").arg("-u"))?.trim() == "0")
}

/// Makes sure that the tool is there, in any version: a developer's own is welcome.
///
/// # Errors
/// When it cannot be installed.
pub(crate) fn ensure_tool(root: &Path, tool: &Tool) -> Result<()> {
    if workspace::find_program(root, tool.name).is_some() {
        return Ok(());
    }
    println!("installing {} {} from crates.io", tool.name, tool.version);
    let mut install = command::cargo(root);
    install
        .args(["install", "--quiet", "--locked", tool.name, "--version", tool.version])
        .args(tool.arguments);
    install.arg("--root").arg(workspace::tools(root));
    // Its own target directory: the workspace's cache is not to be mixed with other people's crates.
    let build = workspace::tools(root).join("build");
    install.arg("--target-dir").arg(&build);
    install.envs(tool.environment.iter().copied());
    command::run(&mut install).with_context(|| format!("cannot install {}", tool.name))?;
    // Gigabytes that nobody needs again.
    fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))
}
