//! The programs of a guest that are not ours: Debian's, unpacked once, and which libraries each of them loads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::apt::{self, PrivateApt};
use super::architecture::Architecture;
use crate::command;

/// Debian packages of the programs, in the order of [`BUSYBOX`] and [`PROGRAMS`].
const PACKAGES: &[&str] = &["busybox-static", "nftables", "iproute2"];
/// The shell and everything around it, in one file.
pub(crate) const BUSYBOX: &str = "busybox";
/// Programs that scenarios call; they are dynamic, so their libraries come along.
pub(super) const PROGRAMS: &[&str] = &["nft", "ip"];

/// A directory with the unpacked packages.
pub(crate) struct Userland {
    directory: PathBuf,
    architecture: Architecture,
}

/// A program or a library, and where the guest must find it (relative to its root).
pub(super) type Placed = (PathBuf, PathBuf);

/// The programs of this architecture: from the cache, else downloaded and unpacked.
pub(crate) fn ensure(root: &Path, architecture: Architecture) -> Result<Userland> {
    let directory = architecture.directory(root).join("userland");
    apt::directory_once(&directory, |partial| {
        println!("{}: fetching {}", architecture.name(), PACKAGES.join(", "));
        PrivateApt::new(root, architecture)?.unpack_with_dependencies(PACKAGES, partial)
    })?;
    Ok(Userland { directory, architecture })
}

impl Userland {
    /// The file of a program.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        self.find(name, &["usr/sbin", "sbin", "bin", "usr/bin"].map(str::to_owned))
    }

    /// Every library that the program loads, directly or through another, and the loader.
    pub(super) fn libraries(&self, program: &Path) -> Result<Vec<Placed>> {
        let gnu = format!("{}-linux-gnu", self.architecture.name());
        let directories = [format!("lib/{gnu}"), format!("usr/lib/{gnu}")];
        let mut waiting = vec![program.to_owned()];
        let mut seen = BTreeSet::new();
        let mut placed = Vec::new();
        while let Some(file) = waiting.pop() {
            let mut readelf = Command::new("readelf");
            readelf.args(["--wide", "--dynamic", "--program-headers"]).arg(&file).env("LC_ALL", "C");
            let headers = command::text(&mut readelf)?;
            for needed in needed_by(&headers).filter(|name| seen.insert((*name).to_owned())) {
                // The loader is named by its path, a library by its name alone.
                let name = needed.rsplit('/').next().unwrap_or(needed);
                let library = self.find(name, &directories)?;
                let place = if name == needed {
                    Path::new("lib").join(&gnu).join(name)
                } else {
                    PathBuf::from(needed.trim_start_matches('/'))
                };
                waiting.push(library.clone());
                placed.push((library, place));
            }
        }
        Ok(placed)
    }

    fn find(&self, name: &str, directories: &[String]) -> Result<PathBuf> {
        let mut files = directories.iter().map(|directory| self.directory.join(directory).join(name));
        // An absolute link points out of the directory, at what this machine has there.
        let inside = |file: &PathBuf| {
            file.canonicalize()
                .is_ok_and(|real| self.directory.canonicalize().is_ok_and(|home| real.starts_with(home)))
        };
        files.find(inside).with_context(|| {
            format!("no {name} in {}: remove that directory to fetch it again", self.directory.display())
        })
    }
}

/// The loader (as a path) and the libraries (as names) in the output of `readelf --dynamic --program-headers`.
fn needed_by(headers: &str) -> impl Iterator<Item = &str> {
    const MARKS: [&str; 2] = ["Requesting program interpreter: ", "(NEEDED)"];
    headers.lines().filter(|line| MARKS.iter().any(|mark| line.contains(mark))).filter_map(|line| {
        let bracketed = line.rsplit_once('[')?.1.split_once(']')?.0;
        Some(bracketed.strip_prefix(MARKS[0]).unwrap_or(bracketed))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_and_the_libraries_are_found_and_the_own_name_is_not() {
        let headers = "      [Requesting program interpreter: /lib/ld-linux-aarch64.so.1]\n\
             \x20 LOAD           0x000000 0x0000000000000000 0x0000000000000000 0x000adc 0x000adc R E 0x10000\n\
             0x0000000000000001 (NEEDED)             Shared library: [libnftables.so.1]\n\
             0x000000000000000e (SONAME)             Library soname: [libown.so.1]\n\
             0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]\n";
        let expected = ["/lib/ld-linux-aarch64.so.1", "libnftables.so.1", "libc.so.6"];
        assert_eq!(needed_by(headers).collect::<Vec<_>>(), expected);
    }
}
