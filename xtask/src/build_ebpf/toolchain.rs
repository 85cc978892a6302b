//! Which compilers build the eBPF programs, and how they get onto this machine.
//!
//! Debian's come first: they bring a prebuilt `core` for eBPF, and the checked-in object is made with them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::packages::{self, Package, Tool};
use crate::{command, workspace};

/// The sidecar's name for Debian's compilers.
pub(super) const DEBIAN: &str = "debian";
const NIGHTLY: &str = "rustup-nightly";

const DEBIAN_RUSTC: &str = packages::DEBIAN_RUSTC.provides;
const DEBIAN_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none";
const LLVM: &str = "/usr/lib/llvm-22";

const DEBIAN_PACKAGES: &[Package] = &[
    packages::DEBIAN_RUSTC,
    packages::DEBIAN_CARGO,
    Package { debian: "libstd-rust-web-dev-bpf", provides: DEBIAN_CORE },
    Package { debian: "llvm-22", provides: "/usr/bin/llvm-objcopy-22" },
    Package { debian: "llvm-22-dev", provides: "/usr/lib/llvm-22/include/llvm-c/Core.h" },
    Package { debian: "clang-22", provides: "/usr/bin/clang-22" },
    Package { debian: "libpolly-22-dev", provides: "/usr/lib/llvm-22/lib/libPolly.a" },
    Package { debian: "zlib1g-dev", provides: "/usr/include/zlib.h" },
    Package { debian: "libzstd-dev", provides: "/usr/include/zstd.h" },
];

/// Linked against Debian's LLVM, the one of Debian's rustc.
const LINKER_FOR_DEBIAN: Tool = Tool {
    name: "bpf-linker",
    version: "0.13.0",
    arguments: &["--no-default-features", "--features", "llvm-22"],
    // The first is read by llvm-sys, the second by bpf-linker's own build script.
    environment: &[("LLVM_SYS_221_PREFIX", LLVM), ("LLVM_PREFIX", LLVM)],
};

const LINKER_FOR_NIGHTLY: Tool =
    Tool { name: "bpf-linker", version: "0.13.0", arguments: &[], environment: &[] };

/// One of the two ways to compile eBPF.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Debian,
    Nightly,
}

/// Compilers that are on this machine.
pub(super) struct Toolchain {
    kind: Kind,
    /// Version of rustc and of its LLVM.
    pub(super) rustc_version: String,
    /// Version of bpf-linker.
    pub(super) linker_version: String,
    /// bpf-linker itself.
    pub(super) linker: PathBuf,
    /// Where rustc keeps its libraries and their sources.
    pub(super) sysroot: PathBuf,
    /// A program that removes sections from an ELF object.
    pub(super) objcopy: PathBuf,
}

impl Toolchain {
    /// Debian's compilers if they are there, else nightly's if complete, else Debian's are installed.
    pub(super) fn choose(root: &Path) -> Result<Self> {
        let debian = Path::new(DEBIAN_RUSTC).exists() && Path::new(DEBIAN_CORE).exists();
        let kind = if !debian && nightly_has_sources() { Kind::Nightly } else { Kind::Debian };
        if kind == Kind::Debian {
            packages::ensure(root, DEBIAN_PACKAGES).context(
                "eBPF needs Debian's rustc with the libraries below, or rustup's nightly with its sources \
                 (`rustup toolchain install nightly --component rust-src`)",
            )?;
        }
        packages::ensure_tool(
            root,
            if kind == Kind::Debian { &LINKER_FOR_DEBIAN } else { &LINKER_FOR_NIGHTLY },
        )?;
        let linker = workspace::find_program(root, "bpf-linker").context("bpf-linker vanished")?;
        let sysroot: PathBuf = command::text(kind.rustc().args(["--print", "sysroot"]))?.trim().into();
        Ok(Self {
            rustc_version: rustc_version(&command::text(kind.rustc().arg("-vV"))?)?,
            linker_version: command::text(Command::new(&linker).arg("--version"))?.trim().to_owned(),
            objcopy: find_objcopy(root, &sysroot)?,
            kind,
            linker,
            sysroot,
        })
    }

    /// The sidecar's name for it.
    pub(super) fn name(&self) -> &'static str {
        if self.kind == Kind::Debian { DEBIAN } else { NIGHTLY }
    }

    /// For people.
    pub(super) fn describe(&self) -> String {
        format!("{} ({}; {})", self.name(), self.rustc_version, self.linker_version)
    }

    /// A cargo that uses this compiler.
    pub(super) fn cargo(&self) -> Command {
        let mut cargo = match self.kind {
            Kind::Debian => {
                let mut cargo = Command::new(packages::DEBIAN_CARGO.provides);
                // aya-ebpf uses one unstable feature; Debian's compiler is a stable release.
                cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
            Kind::Nightly => nightly("cargo"),
        };
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(changes_the_build) {
                cargo.env_remove(name);
            }
        }
        cargo
    }

    /// Arguments of `cargo build` that only this compiler needs.
    pub(super) fn build_arguments(&self) -> &'static [&'static str] {
        // rustup has no prebuilt `core` for eBPF.
        if self.kind == Kind::Nightly { &["-Z", "build-std=core"] } else { &[] }
    }
}

impl Kind {
    fn rustc(self) -> Command {
        if self == Self::Debian { Command::new(DEBIAN_RUSTC) } else { nightly("rustc") }
    }
}

/// A program of rustup's nightly. `cargo run` puts the *running* toolchain first on `PATH` and names it in the
/// environment: both would win over `nightly`.
fn nightly(program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", program]).env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC");
    command
}

fn nightly_has_sources() -> bool {
    command::text(nightly("rustc").args(["--print", "sysroot"]))
        .is_ok_and(|sysroot| Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").exists())
}

/// Variables of the developer's environment that would change the object behind our back.
fn changes_the_build(name: &str) -> bool {
    const PREFIXES: &[&str] = &["CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_UNSTABLE_"];
    const NAMES: &[&str] =
        &["RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_INCREMENTAL", "RUSTUP_TOOLCHAIN", "CARGO"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || NAMES.contains(&name)
        || command::describes_running_package(name)
}

/// One line from `rustc -vV`: the version, and LLVM's, which decides the code as much.
fn rustc_version(verbose: &str) -> Result<String> {
    let first = verbose.lines().next().unwrap_or_default();
    match verbose.lines().find_map(|line| line.strip_prefix("LLVM version: ")) {
        Some(llvm) if first.starts_with("rustc ") => Ok(format!("{first}, LLVM {llvm}")),
        _ => bail!("`rustc -vV` printed something unexpected:\n{verbose}"),
    }
}

fn find_objcopy(root: &Path, sysroot: &Path) -> Result<PathBuf> {
    let of_rustup = sysroot
        .join("lib/rustlib")
        .join(format!("{}-unknown-linux-gnu/bin/rust-objcopy", std::env::consts::ARCH));
    ["llvm-objcopy-22", "llvm-objcopy"]
        .iter()
        .find_map(|program| workspace::find_program(root, program))
        .or_else(|| of_rustup.exists().then_some(of_rustup))
        .context("no llvm-objcopy: install Debian's llvm-22, or rustup's component llvm-tools")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_names_rustc_and_llvm() {
        let verbose = "rustc 1.96.0 (ac68faa20 2026-05-25)\nbinary: rustc\nLLVM version: 22.1.8\n";
        assert_eq!(rustc_version(verbose).unwrap(), "rustc 1.96.0 (ac68faa20 2026-05-25), LLVM 22.1.8");
        assert!(rustc_version("zsh: command not found").is_err());
    }

    #[test]
    fn the_developers_flags_do_not_reach_the_object() {
        assert!(changes_the_build("CARGO_PROFILE_RELEASE_LTO"));
        assert!(changes_the_build("RUSTFLAGS"));
        assert!(!changes_the_build("CARGO_HOME"));
        assert!(!changes_the_build("CARGO_NET_OFFLINE"));
    }
}
