//! Compiles the programs and strips the result: from sources to the bytes that are checked in.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::toolchain::Toolchain;
use super::wrapper;
use crate::{command, workspace};

const TARGET: &str = "bpfel-unknown-none";

/// The finished object for one architecture.
pub(super) fn object(root: &Path, toolchain: &Toolchain, architecture: &str) -> Result<Vec<u8>> {
    // One for all architectures: cargo keeps their crates apart by their flags, and shares what runs on this machine.
    let target_directory = workspace::target(root).join("ebpf");
    let manifest = root.join("netspy-ebpf/Cargo.toml");
    let registries = registries(toolchain, &manifest)?;
    let mut build = toolchain.cargo();
    build
        .args(["build", "--quiet", "--release", "--locked", "--target", TARGET])
        .args(toolchain.build_arguments());
    build.arg("--manifest-path").arg(&manifest).arg("--target-dir").arg(&target_directory);
    build.env("CARGO_ENCODED_RUSTFLAGS", flags(root, toolchain, architecture, &registries).join("\x1f"));
    build.envs(wrapper::environment()?);
    command::run(&mut build)?;
    strip(toolchain, &target_directory.join(TARGET).join("release/netspy-ebpf"))
}

/// Where the dependencies' sources lie: a machine's own business that must not show in the object.
fn registries(toolchain: &Toolchain, manifest: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut metadata = toolchain.cargo();
    metadata
        .args(["metadata", "--quiet", "--locked", "--format-version", "1", "--manifest-path"])
        .arg(manifest);
    registries_in(&command::text(&mut metadata)?)
}

fn registries_in(metadata: &str) -> Result<BTreeSet<PathBuf>> {
    let metadata: serde_json::Value =
        serde_json::from_str(metadata).context("`cargo metadata` printed no JSON")?;
    let packages = metadata["packages"].as_array().context("`cargo metadata` lists no packages")?;
    let foreign = packages.iter().filter(|package| !package["source"].is_null());
    let manifests = foreign.filter_map(|package| package["manifest_path"].as_str());
    Ok(manifests.filter_map(|manifest| Path::new(manifest).parent()?.parent()).map(Path::to_owned).collect())
}

fn flags(
    root: &Path,
    toolchain: &Toolchain,
    architecture: &str,
    registries: &BTreeSet<PathBuf>,
) -> Vec<String> {
    let mut flags = vec![
        format!("--cfg=bpf_target_arch=\"{architecture}\""),
        "-Cdebuginfo=2".to_owned(), // BTF is made from the debug information
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={}", toolchain.linker.display()),
    ];
    // BTF's line information names files. Of several prefixes that match, the last one wins.
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    flags.push(remap(&toolchain.sysroot, "/rust"));
    flags.extend(registries.iter().map(|registry| remap(registry, "/registry")));
    flags.push(remap(root, "/netspy"));
    flags
}

/// Removes DWARF, keeps BTF and the symbols that a loader finds maps and programs by.
fn strip(toolchain: &Toolchain, linked: &Path) -> Result<Vec<u8>> {
    let stripped = linked.with_extension("stripped.o");
    command::run(Command::new(&toolchain.objcopy).arg("--strip-debug").arg(linked).arg(&stripped))?;
    let object = fs::read(&stripped).with_context(|| format!("cannot read {}", stripped.display()))?;
    for section in [".BTF", ".BTF.ext"] {
        if !names_section(&object, section) {
            bail!("the stripped object has no {section} section: {}", stripped.display());
        }
    }
    if names_section(&object, ".debug_info") {
        bail!("DWARF survived stripping: {}", stripped.display());
    }
    Ok(object)
}

/// Whether the object's string table holds this section name.
fn names_section(object: &[u8], name: &str) -> bool {
    let name = [name.as_bytes(), b"\0"].concat();
    object.windows(name.len()).any(|window| window == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_foreign_packages_name_a_registry() {
        let metadata = r#"{"packages": [
            {"source": null, "manifest_path": "/w/netspy-common/Cargo.toml"},
            {"source": "registry+x", "manifest_path": "/h/registry/src/i/aya-ebpf-0.2.1/Cargo.toml"},
            {"source": "registry+x", "manifest_path": "/h/registry/src/i/aya-log-0.2.0/Cargo.toml"}]}"#;
        assert_eq!(registries_in(metadata).unwrap(), BTreeSet::from(["/h/registry/src/i".into()]));
        assert!(registries_in("{}").is_err());
    }

    #[test]
    fn a_section_name_ends_where_it_ends() {
        assert!(names_section(b"..\0.BTF.ext\0", ".BTF.ext"));
        assert!(!names_section(b"..\0.BTF.ext\0", ".BTF"));
    }
}
