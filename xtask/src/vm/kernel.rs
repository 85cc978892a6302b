//! The kernels that the scenarios run on: which Debian packages they are, fetched once and kept unpacked.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::apt::{self, PrivateApt, files_ending};
use super::architecture::Architecture;
use crate::{command, workspace};

/// A kernel series and the names of its packages: what stands before the version, and between it and Debian's name
/// of the architecture.
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
    Series { name: "5.10", image: ("linux-image-5.10.0-", "-cloud-"), modules: None },
    Series { name: "6.1", image: ("linux-image-6.1.0-", "-cloud-"), modules: None },
    Series { name: "6.12", image: ("linux-image-6.12.", "+deb12-cloud-"), modules: None },
    Series {
        name: "7.2",
        image: ("linux-binary-7.2.", "+deb14-cloud-"),
        modules: Some(("linux-modules-7.2.", "+deb14-cloud-")),
    },
];

impl Series {
    /// For the command line.
    pub(crate) fn parse(name: &str) -> Result<&'static Self, String> {
        let names = || ALL.iter().map(|series| series.name).collect::<Vec<_>>().join(", ");
        ALL.iter().find(|series| series.name == name).ok_or_else(|| format!("known series: {}", names()))
    }
}

/// An unpacked kernel.
pub(crate) struct Kernel {
    /// The bootable image.
    pub(crate) image: PathBuf,
    /// Directory of its modules, with `modules.dep`.
    pub(crate) modules: PathBuf,
}

/// The kernel of this series: from the cache, else downloaded and unpacked.
pub(crate) fn ensure(root: &Path, architecture: Architecture, series: &Series) -> Result<Kernel> {
    let directory = architecture.directory(root).join("kernels").join(series.name);
    apt::directory_once(&directory, |partial| {
        let apt = PrivateApt::new(root, architecture)?;
        for (prefix, suffix) in std::iter::once(series.image).chain(series.modules) {
            let suffix = format!("{suffix}{}", architecture.debian());
            let offered = apt.names(prefix)?;
            let packages = newest_first(offered.iter().map(String::as_str), prefix, &suffix);
            let name = architecture.label(series.name);
            fetch_one_of(&apt, &name, &packages, partial)
                .with_context(|| format!("this machine's mirror offers no package {prefix}*{suffix}"))?;
        }
        index_modules(root, partial)
    })?;
    find(&directory).with_context(|| format!("remove {} to fetch it again", directory.display()))
}

/// Unpacks the first one that can be had: the index of an old release names packages that are gone.
fn fetch_one_of(apt: &PrivateApt, kernel: &str, packages: &[&str], into: &Path) -> Result<()> {
    for package in packages {
        println!("{kernel}: fetching {package}");
        match apt.unpack(&[*package], into) {
            Ok(()) => return Ok(()),
            Err(error) => println!("{kernel}: {error:#}"),
        }
    }
    bail!("nothing to fetch")
}

/// The packages `prefix` + digits and dots + `suffix`, the one with the greatest version first. Variants such as
/// `…-rt-…` or `…-unsigned` have other characters there and do not match.
fn newest_first<'a>(offered: impl Iterator<Item = &'a str>, prefix: &str, suffix: &str) -> Vec<&'a str> {
    let version = |package: &'a str| -> Option<Vec<u32>> {
        let middle = package.strip_prefix(prefix)?.strip_suffix(suffix)?;
        middle.split('.').map(|number| number.parse().ok()).collect()
    };
    let mut packages: Vec<_> = offered.filter_map(|package| Some((version(package)?, package))).collect();
    packages.sort_unstable_by(|one, other| other.cmp(one));
    packages.into_iter().map(|(_, package)| package).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_has_the_greatest_number_not_the_last_word() {
        let offered = ["linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-56-cloud-amd64"];
        assert_eq!(
            newest_first(offered.into_iter(), "linux-image-6.1.0-", "-cloud-amd64"),
            [offered[1], offered[0]]
        );
        let offered = ["linux-image-6.12.117+deb12-cloud-amd64", "linux-image-6.12.43+deb12-cloud-amd64"];
        assert_eq!(
            newest_first(offered.into_iter(), "linux-image-6.12.", "+deb12-cloud-amd64")[0],
            offered[0]
        );
        let offered = ["linux-binary-7.2.9.1+deb14-cloud-amd64", "linux-binary-7.2.9+deb14-cloud-amd64"];
        assert_eq!(
            newest_first(offered.into_iter(), "linux-binary-7.2.", "+deb14-cloud-amd64")[0],
            offered[0]
        );
    }

    #[test]
    fn variants_are_not_the_kernel() {
        let offered = [
            "linux-image-6.1.0-56-cloud-amd64-unsigned",
            "linux-image-6.1.0-56-cloud-amd64-dbg",
            "linux-image-6.1.0-0.deb11.9-cloud-amd64",
            "linux-image-6.1.0-56-rt-amd64",
        ];
        assert!(newest_first(offered.into_iter(), "linux-image-6.1.0-", "-cloud-amd64").is_empty());
    }

    #[test]
    fn every_series_parses_by_its_name() {
        for series in &ALL {
            assert_eq!(Series::parse(series.name).unwrap().name, series.name);
        }
        assert!(Series::parse("4.19").unwrap_err().contains("5.10"));
    }
}
