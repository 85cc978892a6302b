//! Makes symbol names independent of the directory that the workspace lies in.
//!
//! cargo derives each crate's `-C metadata` from, among others, the absolute path of a path dependency outside
//! its workspace (`netspy-common`), and the compiler mixes it into every symbol name. cargo has no switch for it,
//! so an eBPF build names this program as `RUSTC_WRAPPER`: it pins the value to the crate's name and version and
//! becomes the compiler. (Renaming symbols afterwards was rejected: the names also decide the order of functions.)

use std::env;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

/// Set by the eBPF build; its presence means "you are a compiler wrapper now".
const VARIABLE: &str = "NETSPY_XTASK_PIN_METADATA";

/// Environment that makes cargo call this program in front of the compiler.
pub(super) fn environment() -> Result<[(&'static str, PathBuf); 2]> {
    let program = env::current_exe().context("this program does not know its own path")?;
    Ok([("RUSTC_WRAPPER", program), (VARIABLE, "1".into())])
}

/// Whether cargo started this process as its compiler wrapper.
pub(crate) fn requested() -> bool {
    env::var_os(VARIABLE).is_some()
}

/// Becomes the compiler; returns only when that fails.
pub(crate) fn run() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let Some(compiler) = arguments.next() else {
        eprintln!("error: {VARIABLE} is for the compiler wrapper of an eBPF build: unset it");
        return ExitCode::FAILURE;
    };
    let package =
        [env::var("CARGO_PKG_NAME"), env::var("CARGO_PKG_VERSION")].map(Result::unwrap_or_default).join("-");
    let arguments =
        arguments.map(|argument| match argument.to_str().and_then(|text| pinned(text, &package)) {
            Some(replacement) => replacement.into(),
            None => argument,
        });
    let error = Command::new(&compiler).args(arguments).exec();
    eprintln!("error: cannot run {}: {error}", compiler.to_string_lossy());
    ExitCode::FAILURE
}

/// What to put in place of an argument (cargo writes `-C` and `metadata=…` as two).
fn pinned(argument: &str, package: &str) -> Option<String> {
    argument.starts_with("metadata=").then(|| format!("metadata={package}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_metadata_is_replaced() {
        assert_eq!(
            pinned("metadata=0123abcd", "netspy-common-0.1.0").unwrap(),
            "metadata=netspy-common-0.1.0"
        );
        assert_eq!(pinned("extra-filename=-0123abcd", "netspy-common-0.1.0"), None);
        assert_eq!(pinned("--emit=dep-info,metadata,link", "netspy-common-0.1.0"), None);
    }
}
