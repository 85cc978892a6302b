//! Debian packages for a guest: fetched from this machine's mirror and unpacked, never installed.

mod mirror;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::architecture::Architecture;
use crate::command;

/// The release whose programs and libraries guests get.
pub(crate) const RELEASE: &str = "bookworm";

/// An apt with its own sources, lists, cache and idea of what is installed (nothing), so that the machine's are
/// neither used nor changed.
pub(crate) struct PrivateApt {
    directory: PathBuf,
    architecture: Architecture,
}

impl PrivateApt {
    /// With lists as they are at the mirror now.
    pub(crate) fn new(root: &Path, architecture: Architecture) -> Result<Self> {
        let apt = Self { directory: architecture.directory(root).join("apt"), architecture };
        for needed in ["sources", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.directory.join(needed))?;
        }
        let mirror = mirror::find(&machine_sources()?).context(
            "no Debian archive among this machine's apt sources: the guests are Debian's, run this on Debian",
        )?;
        let sources = mirror::private_sources(&mirror, architecture.debian());
        fs::write(apt.directory.join("sources/guests.sources"), sources)?;
        command::output(apt.command("apt-get").args(["--quiet=2", "update"]))?;
        Ok(apt)
    }

    /// Names of the packages that start like this.
    pub(super) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = command::text(self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Unpacks packages, each `name`, `name=version` or `name/release`, without what they depend on.
    pub(crate) fn unpack(&self, packages: &[&str], into: &Path) -> Result<()> {
        let archives = self.empty_archives()?;
        let mut download = self.command("apt-get");
        command::output(download.arg("download").args(packages).current_dir(&archives))?;
        extract(&archives, into)
    }

    /// Unpacks packages of [`RELEASE`] and everything that they need.
    pub(super) fn unpack_with_dependencies(&self, packages: &[&str], into: &Path) -> Result<()> {
        let archives = self.empty_archives()?;
        let mut install = self.command("apt-get");
        install.args(["--quiet=2", "--yes", "--download-only", "--no-install-recommends"]);
        install.args(["--target-release", RELEASE, "install"]).args(packages);
        command::output(&mut install)?;
        extract(&archives, into)
    }

    /// Where `install` leaves what it downloads, without what an earlier run left there.
    fn empty_archives(&self) -> Result<PathBuf> {
        let archives = self.directory.join("cache/archives");
        for archive in files_ending(&archives, ".deb")? {
            fs::remove_file(archive)?;
        }
        Ok(archives)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let place = |option: &str, name: &str| format!("{option}={}", self.directory.join(name).display());
        let debian = self.architecture.debian();
        let options = [
            format!("APT::Architecture={debian}"),
            format!("APT::Architectures={debian}"),
            "Dir::Etc::sourcelist=/dev/null".to_owned(),
            place("Dir::Etc::sourceparts", "sources"),
            "Dir::State::status=/dev/null".to_owned(),
            place("Dir::State::Lists", "lists"),
            place("Dir::Cache", "cache"),
            "APT::Sandbox::User=root".to_owned(), // apt's own user cannot write below target/
            "Acquire::Languages=none".to_owned(),
        ];
        command.args(options.iter().flat_map(|option| ["-o", option]));
        command
    }
}

/// Fills a directory with `fill`, or leaves none: what is fetched half must not look like the whole.
pub(crate) fn directory_once(directory: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if directory.exists() {
        return Ok(());
    }
    let partial = PathBuf::from(format!("{}.partial", directory.display()));
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    fill(&partial)?;
    fs::rename(&partial, directory).with_context(|| format!("cannot create {}", directory.display()))
}

/// The paths in a directory whose names end like this.
pub(super) fn files_ending(directory: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.to_string_lossy().ends_with(suffix)).collect())
}

fn extract(archives: &Path, into: &Path) -> Result<()> {
    for archive in files_ending(archives, ".deb")? {
        command::output(Command::new("dpkg").arg("-x").arg(&archive).arg(into))?;
        fs::remove_file(&archive)?;
    }
    Ok(())
}

/// Every source file of this machine that apt would read, as (name, text).
fn machine_sources() -> Result<Vec<(String, String)>> {
    let mut paths = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = Path::new("/etc/apt/sources.list.d");
    if parts.exists() {
        paths.extend(files_ending(parts, ".sources")?);
        paths.extend(files_ending(parts, ".list")?);
    }
    paths.sort();
    let existing = paths.iter().filter(|path| path.exists());
    existing
        .map(|path| {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok((path.to_string_lossy().into_owned(), text))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_filled_half_is_filled_again() {
        let parent = tempfile::tempdir().unwrap();
        // A dot in the name, as in a kernel's: it must not be taken for an extension.
        let directory = parent.path().join("6.1");
        let failed = directory_once(&directory, |partial| {
            fs::write(partial.join("half"), "")?;
            anyhow::bail!("cut off")
        });
        assert!(failed.is_err() && !directory.exists());
        let fill = |partial: &Path| Ok(fs::write(partial.join("whole"), "")?);
        directory_once(&directory, fill).unwrap();
        assert_eq!(files_ending(&directory, "").unwrap(), [directory.join("whole")]);
        directory_once(&directory, |_| anyhow::bail!("it is there already")).unwrap();
    }
}
