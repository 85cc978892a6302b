//! What is given to people, used as they would: the package in a Debian where nothing runs, in one that is booted, the
//! image, the description for Kubernetes, and the programs for a processor that this machine does not have.

mod booted;
mod chroot;
mod debian;
mod foreign;
mod kubernetes;

use std::path::Path;

use anyhow::Result;

use super::Made;
use crate::vm::architecture::Architecture;

/// Fails unless everything is as it should be.
pub(super) fn job(root: &Path, out: &Path, made: &Made, package: &Path) -> Result<()> {
    match made.architecture {
        Architecture::X86_64 => {
            let container = kubernetes::job(root, out, &made.daemon_set)?;
            let next = made.next_package(root, out)?;
            chroot::job(root, out, package, &next)?;
            booted::job(root, out, made, [package, &next], &container)
        }
        Architecture::Aarch64 => foreign::job(root, out, made.architecture, package),
    }
}
