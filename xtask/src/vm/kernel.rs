//! The kernels that the scenarios run on: which Debian packages they are, fetched once and kept unpacked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::apt;
use crate::{command, workspace};

/// A kernel series and the names of its packages: prefix, version, suffix.
#[derive(Debug)]
pub(crate) struct Series {
    /// As typed after `--kernel`.
    pub(super) name: &'static str,
    image: (&'static str, &'static str),
    /// Where the modules are, if not in the package of the image.
    modules: Option<(&'static str, &'static str)>,
}

/// Oldest supported kernel to newest: 5.10 has no drop reasons, 7.2 is Debian's development kernel.
pub(super) static ALL: [Series; 4] = [
    Series { name: "5.10", image: ("linux-image-5.10.0-", "-cloud-amd64"), modules: None },
    Series { name: "6.1", image: ("linux-image-6.1.0-", "-cloud-amd64"), modules: None },
    Series { name: "6.12", image: ("linux-image-6.12.", "+deb12-cloud-amd64"), modules: None },
    Series {
        name: "7.2",
        image: ("linux-binary-7.2.", "+deb14-cloud-amd64"),
        modules: Some(("linux-modules-7.2.", "+deb14-cloud-amd64")),
    },
];

impl Series {
    /// For the command line.
    pub(super) fn parse(name: &str) -> Result<&'static Self, String> {
        let names = || ALL.iter().map(|series| series.name).collect::<Vec<_>>().join(", ");
        ALL.iter().find(|series| series.name == name).ok_or_else(|| format!("known series: {}", names()))
    }
}

/// An unpacked kernel.
pub(super) struct Kernel {
    /// The bootable image.
    pub(super) image: PathBuf,
    /// Directory of its modules, with `modules.dep`.
    pub(super) modules: PathBuf,
}

/// The kernel of this series: from the cache, else downloaded and unpacked.
pub(super) fn ensure(root: &Path, series: &Series) -> Result<Kernel> {
    let directory = workspace::target(root).join("vm/kernels").join(series.name);
    if !directory.exists() {
        fetch(root, series, &directory)?;
    }
    find(&directory).with_context(|| format!("remove {} to fetch it again", directory.display()))
}

fn fetch(root: &Path, series: &Series, directory: &Path) -> Result<()> {
    let apt = PrivateApt::new(&workspace::target(root).join("vm/apt"))?;
    // Unpacked beside its final place and renamed: an interrupted download must not look like a kernel.
    let partial = directory.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    for (prefix, suffix) in std::iter::once(series.image).chain(series.modules) {
        let offered = command::text(apt.command("apt-cache").args(["pkgnames", prefix]))?;
        let package = newest(offered.lines(), prefix, suffix)
            .with_context(|| format!("this machine's mirror offers no package {prefix}*{suffix}"))?;
        println!("{}: fetching {package}", series.name);
        command::output(apt.command("apt-get").args(["download", package]).current_dir(&partial))?;
    }
    for archive in files_ending(&partial, ".deb")? {
        command::output(Command::new("dpkg").arg("-x").arg(&archive).arg(&partial))?;
        fs::remove_file(&archive)?;
    }
    index_modules(root, &partial)?;
    fs::rename(&partial, directory).with_context(|| format!("cannot create {}", directory.display()))
}

/// Of the packages `prefix` + digits and dots + `suffix`, the one with the greatest version. Variants such as
/// `…-rt-…` or `…-unsigned` have other characters there and do not match.
fn newest<'a>(offered: impl Iterator<Item = &'a str>, prefix: &str, suffix: &str) -> Option<&'a str> {
    let version = |package: &'a str| -> Option<Vec<u32>> {
        let middle = package.strip_prefix(prefix)?.strip_suffix(suffix)?;
        middle.split('.').map(|number| number.parse().ok()).collect()
    };
    offered.filter_map(|package| Some((version(package)?, package))).max().map(|(_, package)| package)
}

fn files_ending(directory: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.to_string_lossy().ends_with(suffix)).collect())
}

/// `modules.dep` is made when a package is installed; ours is only unpacked.
fn index_modules(root: &Path, unpacked: &Path) -> Result<()> {
    let lib = unpacked.join("lib");
    if !lib.exists() {
        // Newer packages know only /usr/lib, depmod only /lib.
        std::os::unix::fs::symlink("usr/lib", &lib)?;
    }
    let modules = only_entry(&lib.join("modules"))?;
    let version = modules.file_name().context("a modules directory without a name")?.to_owned();
    let depmod =
        workspace::find_program(root, "depmod").context("depmod is missing (Debian package kmod)")?;
    command::output(Command::new(depmod).arg("-b").arg(unpacked).arg(version))?;
    Ok(())
}

fn only_entry(directory: &Path) -> Result<PathBuf> {
    match files_ending(directory, "")?.as_slice() {
        [entry] => Ok(entry.clone()),
        entries => bail!("{} has {} entries instead of 1", directory.display(), entries.len()),
    }
}

fn find(unpacked: &Path) -> Result<Kernel> {
    let modules = only_entry(&unpacked.join("lib/modules"))?;
    let beside_modules = modules.join("vmlinuz");
    let image = if beside_modules.exists() {
        beside_modules
    } else {
        let boot = files_ending(&unpacked.join("boot"), "")?;
        let is_image = |path: &&PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
        };
        boot.iter().find(is_image).cloned().context("the package holds no vmlinuz")?
    };
    Ok(Kernel { image, modules })
}

/// An apt with its own sources, lists and cache, so that the machine's are neither used nor changed.
struct PrivateApt {
    directory: PathBuf,
}

impl PrivateApt {
    fn new(directory: &Path) -> Result<Self> {
        for needed in ["sources", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(needed))?;
        }
        let mirror = apt::find_mirror(&machine_sources()?).context(
            "no Debian archive among this machine's apt sources: the test kernels are Debian's, run this on Debian",
        )?;
        fs::write(directory.join("sources/kernels.sources"), apt::private_sources(&mirror))?;
        let apt = Self { directory: directory.to_owned() };
        command::output(apt.command("apt-get").args(["--quiet=2", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let place = |option: &str, name: &str| format!("{option}={}", self.directory.join(name).display());
        let options = [
            "Dir::Etc::sourcelist=/dev/null".to_owned(),
            place("Dir::Etc::sourceparts", "sources"),
            place("Dir::State::Lists", "lists"),
            place("Dir::Cache", "cache"),
            "APT::Sandbox::User=root".to_owned(), // apt's own user cannot write below target/
            "Acquire::Languages=none".to_owned(),
        ];
        command.args(options.iter().flat_map(|option| ["-o", option]));
        command
    }
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
    fn the_newest_is_the_greatest_number_not_the_last_word() {
        let offered = ["linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-56-cloud-amd64"];
        assert_eq!(newest(offered.into_iter(), "linux-image-6.1.0-", "-cloud-amd64"), Some(offered[1]));
        let offered = ["linux-image-6.12.117+deb12-cloud-amd64", "linux-image-6.12.43+deb12-cloud-amd64"];
        assert_eq!(newest(offered.into_iter(), "linux-image-6.12.", "+deb12-cloud-amd64"), Some(offered[0]));
        let offered = ["linux-binary-7.2.9.1+deb14-cloud-amd64", "linux-binary-7.2.9+deb14-cloud-amd64"];
        assert_eq!(newest(offered.into_iter(), "linux-binary-7.2.", "+deb14-cloud-amd64"), Some(offered[0]));
    }

    #[test]
    fn variants_are_not_the_kernel() {
        let offered = [
            "linux-image-6.1.0-56-cloud-amd64-unsigned",
            "linux-image-6.1.0-56-cloud-amd64-dbg",
            "linux-image-6.1.0-0.deb11.9-cloud-amd64",
            "linux-image-6.1.0-56-rt-amd64",
        ];
        assert_eq!(newest(offered.into_iter(), "linux-image-6.1.0-", "-cloud-amd64"), None);
    }

    #[test]
    fn every_series_parses_by_its_name() {
        for series in &ALL {
            assert_eq!(Series::parse(series.name).unwrap().name, series.name);
        }
        assert!(Series::parse("4.19").unwrap_err().contains("5.10"));
    }
}
