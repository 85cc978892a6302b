//! `dist`: what is given to people. Static programs, Debian packages, man pages and completions, all below
//! `target/dist`; `--prove` uses them as people do: a package in a Debian of its own and in one that is booted, the
//! image, the other processor's programs.

mod deb;
mod programs;
mod prove;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::vm::architecture::Architecture;
use crate::{command, packages, workspace};

/// Options of `dist`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Processor of the machines that it is for, repeatable; this one's if none is named, and with --prove every one
    #[arg(long = "arch", value_name = "ARCH", conflicts_with = "programs")]
    architectures: Vec<Architecture>,
    /// Package the two programs of this directory, built for PCs, instead of building them
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Also use what was made: install, run, upgrade and purge it, boot it, build and run the image (as root, with
    /// the network)
    #[arg(long)]
    prove: bool,
}

impl Arguments {
    fn architectures(&self) -> Vec<Architecture> {
        match (&self.architectures[..], self.prove && self.programs.is_none()) {
            ([], false) => vec![Architecture::X86_64],
            ([], true) => Architecture::ALL.into(),
            (named, _) => named.to_vec(),
        }
    }
}

/// What is given to machines of one kind.
struct Made {
    architecture: Architecture,
    /// Directory of the programs.
    programs: PathBuf,
    /// Directory of the man pages and completions.
    reference: PathBuf,
    /// The description for Kubernetes.
    daemon_set: PathBuf,
}

impl Made {
    /// The Debian package.
    fn package(&self, root: &Path, out: &Path) -> Result<PathBuf> {
        deb::build(root, out, self, env!("CARGO_PKG_VERSION"))
    }

    /// The same, as if it were the next version.
    fn next_package(&self, root: &Path, out: &Path) -> Result<PathBuf> {
        deb::build(root, out, self, concat!(env!("CARGO_PKG_VERSION"), "+next"))
    }
}

/// Makes everything.
pub(crate) fn job(arguments: &Arguments) -> Result<()> {
    let root = workspace::root()?;
    packages::ensure(&root, PACKAGES)?;
    let out = workspace::target(&root).join("dist");
    let reference = reference(&root, &out)?;
    let daemon_set = daemon_set(&root, &out)?;
    println!("{}", daemon_set.display());
    for architecture in arguments.architectures() {
        let programs = match &arguments.programs {
            Some(given) => programs::given(&out, architecture, given)?,
            None => programs::build(&root, &out, architecture)?,
        };
        let (reference, daemon_set) = (reference.clone(), daemon_set.clone());
        let made = Made { architecture, programs, reference, daemon_set };
        let package = made.package(&root, &out)?;
        println!("{}", package.display());
        if arguments.prove {
            prove::job(&root, &out, &made, &package)?;
        }
    }
    Ok(())
}

const PACKAGES: &[packages::Package] = &[
    packages::Package { debian: "dpkg", provides: "dpkg-deb" },
    packages::Package { debian: "gzip", provides: "gzip" },
];

/// Lets both programs describe themselves; the directory of the pages and completions.
fn reference(root: &Path, out: &Path) -> Result<PathBuf> {
    let directory = fresh(&out.join("reference"))?;
    for (package, example) in [("netspy-server", "server_reference"), ("netspy-cli", "client_reference")] {
        let mut cargo = command::cargo(root);
        cargo.args(["run", "--quiet", "--locked", "--package", package, "--example", example, "--"]);
        command::run(cargo.arg(&directory))?;
    }
    Ok(directory)
}

/// The description for Kubernetes, of this version's image.
fn daemon_set(root: &Path, out: &Path) -> Result<PathBuf> {
    let text = fs::read_to_string(root.join("packaging/kubernetes/daemonset.yaml"))?;
    let place = out.join("daemonset.yaml");
    fs::write(&place, text.replace("@VERSION@", env!("CARGO_PKG_VERSION")))?;
    Ok(place)
}

/// The directory, empty.
fn fresh(directory: &Path) -> Result<PathBuf> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_proven_is_every_processor_unless_one_is_named() {
        let of = |architectures: &[Architecture], programs: Option<&str>, prove| {
            Arguments { architectures: architectures.into(), programs: programs.map(PathBuf::from), prove }
                .architectures()
        };
        assert_eq!(of(&[], None, false), [Architecture::X86_64]);
        assert_eq!(of(&[], None, true), Architecture::ALL);
        assert_eq!(of(&[], Some("bin"), true), [Architecture::X86_64]);
        assert_eq!(of(&[Architecture::Aarch64], None, true), [Architecture::Aarch64]);
    }
}
