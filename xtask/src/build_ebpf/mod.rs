//! `build-ebpf`: compiles `netspy-ebpf` into the object that is checked in beside the server.
//!
//! The object is checked in so that plain stable Rust builds the server; `--check` proves that it is what the
//! sources give. The Debian build is reproducible: same compilers, same bytes, in any directory.

mod compile;
mod sidecar;
mod toolchain;
pub(crate) mod wrapper;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use self::sidecar::Sidecar;
use self::toolchain::Toolchain;
use crate::workspace;

/// Processors whose registers the programs read (`bpf_target_arch`): one object each.
const ARCHITECTURES: &[&str] = &["x86_64", "aarch64"];

/// What to tell whoever changed the programs.
const REBUILD: &str = "run `cargo xtask build-ebpf` and commit the result";

/// Options of `build-ebpf`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Change nothing: fail if the checked-in object is not what the sources give
    #[arg(long)]
    check: bool,
}

impl Arguments {
    /// `--check`.
    pub(crate) fn check() -> Self {
        Self { check: true }
    }
}

/// Builds or checks the object of every architecture.
pub(crate) fn job(arguments: &Arguments) -> Result<()> {
    let root = workspace::root()?;
    ARCHITECTURES.iter().try_for_each(|architecture| {
        let paths = Checked::new(&root, architecture);
        let done = if arguments.check {
            check(&root, architecture, &paths)
        } else {
            build(&root, architecture, &paths)
        };
        done.with_context(|| format!("eBPF object for {architecture}"))
    })
}

/// The two checked-in files of an architecture.
struct Checked {
    object: PathBuf,
    sidecar: PathBuf,
}

impl Checked {
    fn new(root: &Path, architecture: &str) -> Self {
        let directory = root.join("netspy-server/ebpf");
        Self {
            object: directory.join(format!("netspy-{architecture}.bpf.o")),
            sidecar: directory.join(format!("netspy-{architecture}.json")),
        }
    }
}

fn build(root: &Path, architecture: &str, paths: &Checked) -> Result<()> {
    let toolchain = Toolchain::choose(root)?;
    println!("{architecture}: building with {}", toolchain.describe());
    // Hashed before the build: a file edited meanwhile then fails the next check instead of passing it.
    let source = sidecar::source_hash(root)?;
    let object = compile::object(root, &toolchain, architecture)?;
    let facts = Sidecar::new(source, &object, &toolchain);
    fs::create_dir_all(root.join("netspy-server/ebpf"))?;
    fs::write(&paths.object, &object).with_context(|| format!("cannot write {}", paths.object.display()))?;
    facts.write(&paths.sidecar)?;
    println!("{architecture}: {} ({} bytes)", paths.object.display(), object.len());
    Ok(())
}

fn check(root: &Path, architecture: &str, paths: &Checked) -> Result<()> {
    let recorded = Sidecar::read(&paths.sidecar).with_context(|| REBUILD.to_owned())?;
    let object = fs::read(&paths.object).with_context(|| format!("{}: {REBUILD}", paths.object.display()))?;
    if recorded.source_sha256 != sidecar::source_hash(root)? {
        bail!("the sources changed since the checked-in object was built: {REBUILD}");
    }
    if recorded.object_sha256 != sidecar::hash(&object) {
        bail!("{} is not the object that its sidecar describes: {REBUILD}", paths.object.display());
    }
    let toolchain = Toolchain::choose(root)?;
    println!("{architecture}: rebuilding with {} to compare", toolchain.describe());
    let fresh = compile::object(root, &toolchain, architecture)?;
    match verdict(&recorded, &Sidecar::new(recorded.source_sha256.clone(), &fresh, &toolchain)) {
        Verdict::Same => {
            println!("{architecture}: the checked-in object is what the sources give, byte for byte");
        }
        Verdict::OtherCompilers => println!(
            "{architecture}: sources match and a fresh build succeeds; bytes not compared, because the object was \
             made with {} and {}",
            recorded.rustc, recorded.bpf_linker
        ),
        Verdict::Different => bail!("a fresh build gives other bytes than the checked-in object: {REBUILD}"),
    }
    Ok(())
}

/// What a fresh build says about the checked-in object.
#[derive(Debug, PartialEq)]
enum Verdict {
    Same,
    Different,
    /// Other compilers give other bytes: there is nothing to compare.
    OtherCompilers,
}

fn verdict(recorded: &Sidecar, fresh: &Sidecar) -> Verdict {
    if !recorded.same_compilers(fresh) || fresh.toolchain != toolchain::DEBIAN {
        return Verdict::OtherCompilers;
    }
    if recorded.object_sha256 == fresh.object_sha256 { Verdict::Same } else { Verdict::Different }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(object: &str, rustc: &str, toolchain: &str) -> Sidecar {
        Sidecar {
            source_sha256: "s".into(),
            object_sha256: object.into(),
            rustc: rustc.into(),
            bpf_linker: "bpf-linker 1".into(),
            toolchain: toolchain.into(),
        }
    }

    #[test]
    fn bytes_count_only_between_the_same_compilers() {
        let recorded = facts("a", "rustc 1", "debian");
        assert_eq!(verdict(&recorded, &facts("a", "rustc 1", "debian")), Verdict::Same);
        assert_eq!(verdict(&recorded, &facts("b", "rustc 1", "debian")), Verdict::Different);
        assert_eq!(verdict(&recorded, &facts("b", "rustc 2", "debian")), Verdict::OtherCompilers);
        assert_eq!(verdict(&recorded, &facts("b", "rustc 1", "rustup-nightly")), Verdict::OtherCompilers);
    }
}
