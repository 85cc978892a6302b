//! Where things are: the workspace's root, cargo's target directory, and the tools installed below it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The workspace's root directory, absolute.
///
/// # Errors
/// When the directory above this package is gone.
pub(crate) fn root() -> Result<PathBuf> {
    // cargo sets the variable at run time too; the compiled-in path serves a binary started by hand.
    let package =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let root = package.parent().context("the xtask package has no parent directory")?;
    root.canonicalize().with_context(|| format!("workspace root {} is not readable", root.display()))
}

/// cargo's target directory: everything that a job writes, the checked-in object apart, goes below it.
pub(crate) fn target(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |directory| root.join(directory))
}

/// Where `cargo install` puts the tools that the jobs need (`bin/` below it).
pub(crate) fn tools(root: &Path) -> PathBuf {
    target(root).join("tools")
}

/// `PATH` with our own tools first and the administrator's directories last: a plain user's `PATH`
/// often lacks the latter, where `nft` and `depmod` live.
pub(crate) fn search_path(root: &Path) -> OsString {
    let mut directories = vec![tools(root).join("bin")];
    directories.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    directories.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    // A directory whose name holds a colon cannot be on any PATH: then the inherited one is what there is.
    env::join_paths(directories).unwrap_or_else(|_| env::var_os("PATH").unwrap_or_default())
}

/// The file that `program` means on `search_path`, if it is installed.
pub(crate) fn find_program(root: &Path, program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path(root)).map(|directory| directory.join(program)).find(|file| file.is_file())
}
