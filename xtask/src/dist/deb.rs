//! The Debian package: files put where Debian wants them, and `dpkg-deb`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::programs::PROGRAMS;
use super::{Made, fresh};
use crate::command;

const PROGRAM: u32 = 0o755;
const FILE: u32 = 0o644;

/// Builds the package; its file.
pub(super) fn build(root: &Path, out: &Path, made: &Made, version: &str) -> Result<PathBuf> {
    let architecture = made.architecture.debian();
    let tree = Tree(fresh(&out.join("deb").join(architecture))?);
    let packaging = root.join("packaging");
    for name in PROGRAMS {
        tree.put(&made.programs.join(name), &format!("usr/bin/{name}"), PROGRAM)?;
    }
    for unit in ["netspy-server.service", "netspy-server.socket"] {
        tree.put(&packaging.join("systemd").join(unit), &format!("lib/systemd/system/{unit}"), FILE)?;
    }
    tree.put(&packaging.join("server.toml"), "etc/netspy/server.toml", FILE)?;
    tree.put(&root.join("README.md"), "usr/share/doc/netspy/README.md", FILE)?;
    reference(&tree, made)?;
    for script in ["postinst", "prerm", "postrm"] {
        tree.put(&packaging.join("debian").join(script), &format!("DEBIAN/{script}"), PROGRAM)?;
    }
    tree.write("DEBIAN/conffiles", "/etc/netspy/server.toml\n")?;
    let control = fs::read_to_string(packaging.join("debian/control"))?;
    let size = kibibytes(&tree.0)?.to_string();
    let control = control.replace("@VERSION@", version).replace("@ARCHITECTURE@", architecture);
    let control = control.replace("@SIZE@", &size);
    tree.write("DEBIAN/control", &control)?;
    let package = out.join(format!("netspy_{version}_{architecture}.deb"));
    let mut dpkg = Command::new("dpkg-deb");
    command::output(dpkg.args(["--build", "--root-owner-group", "-Zxz"]).arg(&tree.0).arg(&package))?;
    Ok(package)
}

/// Man pages, compressed as Debian's are, and completions where each shell looks for them.
fn reference(tree: &Tree, made: &Made) -> Result<()> {
    for page in fs::read_dir(made.reference.join("man"))? {
        let page = page?;
        let name = page.file_name().to_string_lossy().into_owned();
        let place = tree.put(&page.path(), &format!("usr/share/man/man1/{name}"), FILE)?;
        command::run(Command::new("gzip").args(["--best", "--no-name"]).arg(place))?;
    }
    let completions = made.reference.join("completions");
    for name in PROGRAMS {
        for (file, place) in [
            (format!("{name}.bash"), format!("usr/share/bash-completion/completions/{name}")),
            (format!("_{name}"), format!("usr/share/zsh/vendor-completions/_{name}")),
            (format!("{name}.fish"), format!("usr/share/fish/vendor_completions.d/{name}.fish")),
        ] {
            tree.put(&completions.join(file), &place, FILE)?;
        }
    }
    Ok(())
}

/// The package's files as they will be below `/`.
struct Tree(PathBuf);

impl Tree {
    fn put(&self, from: &Path, to: &str, mode: u32) -> Result<PathBuf> {
        let place = self.0.join(to);
        if let Some(directory) = place.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::copy(from, &place).with_context(|| format!("cannot package {}", from.display()))?;
        fs::set_permissions(&place, fs::Permissions::from_mode(mode))?;
        Ok(place)
    }

    fn write(&self, to: &str, text: &str) -> Result<()> {
        fs::write(self.0.join(to), text).with_context(|| format!("cannot write {to}"))
    }
}

/// Size of everything in a directory.
fn kibibytes(directory: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { kibibytes(&entry.path())? } else { metadata.len().div_ceil(1024) };
    }
    Ok(sum)
}
